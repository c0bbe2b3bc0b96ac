"""Merge a config file with the files that its ``_base_`` names."""

__all__ = ['read_layers']

import pathlib
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from oadp.compat import quiet_imports

with quiet_imports():
    import todd

_DELETE = '_delete_'
"""Key in a dict of a config: replace the base's dict instead of merging with it."""


class _Layer(todd.Config):
    """A file before it is merged with its bases; keeps ``_delete_``, which todd drops on reading."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name == _DELETE:
            self.data[name] = value
        else:
            super().__setitem__(name, value)

    def __iter__(self) -> Iterator[str]:
        # First of all keys, as it removes the base's keys.
        return iter(sorted(super().__iter__(), key=lambda name: name != _DELETE))


def read_layers(path: pathlib.Path, above: tuple[pathlib.Path, ...] = ()) -> todd.Config:
    """Read a config file and its bases.

    Args:
        path: the file.
        above: the files that it is a base of.

    Raises:
        FileNotFoundError: the file, or one of its bases, does not exist.
        ValueError: one of them is not a text file, its Python code fails (names the line), or it is
            based on itself.
    """
    above = (*above, path.resolve())
    layer = _read(path)
    config = todd.Config()
    bases = layer.pop('_base_', [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, Sequence) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f'{path}: _base_ is {bases!r:.80}; expected a path or a list of paths')
    for base in bases:
        if (path.parent / base).resolve() in above:
            raise ValueError(f'{path}: _base_ names {base}, which is based on this file')
        config.update(read_layers(path.parent / base, above))
    config.update(layer)
    return config


def _read(path: pathlib.Path) -> _Layer:
    try:
        return _Layer.loads(path.read_text(encoding='utf-8'))
    except OSError:
        raise
    except UnicodeDecodeError as e:
        raise ValueError(f'{path}: expected a config in UTF-8 ({e})') from e
    except Exception as e:  # a config is Python code, which may raise anything
        line = e.lineno if isinstance(e, SyntaxError) else _line(e)
        what = e.msg if isinstance(e, SyntaxError) else e
        raise ValueError(f'{path}, line {line}: {type(e).__name__}: {what}') from e


def _line(error: Exception) -> int | None:
    """Return the line of a config in which an error occurred; todd runs it as ``<string>``."""
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == '<string>'
    ]
    return lines[-1] if lines else None
