"""Config files: load, override, write back.

Configs are Python files with ``_base_`` inheritance, read by ``todd.Config``. Four things are added:
``_delete_`` works in files, as in mmcv's; an override must name something that exists, so that a typing
error is not a silent no-op; values in the authors' spelling are translated; and a config can be turned into plain containers for libraries that look
into a ``dict`` from C.
"""

__all__ = ['OverrideAction', 'add_config_arguments', 'dump_config', 'load_config', 'to_plain']

import argparse
import ast
import os
import pathlib
import pprint
from collections.abc import Iterator, Mapping
from typing import Any

from . import runtime
from .atomic import atomic_write
from .compat import quiet_imports, translate_config

with quiet_imports():
    import todd

_DELETE = '_delete_'
"""In a dict of a config: nothing is left of the dict that it would be merged with."""

_PLAIN = '_'
"""Name of the config itself while an override key is parsed as a Python expression."""


def load_config(path: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> todd.Config:
    """Read a config file and apply overrides.

    Values in the spelling of the authors' configs are translated, each with a warning.

    Args:
        path: a Python file; ``_base_`` is one path or a list of paths, relative to the file.
        overrides: key to value, keys as on the command line: ``.a.b`` or ``.a[0].b``. A key must
            exist, except for a new argument of a component (a dict that has ``type``), which the
            component itself checks when it is built.

    Raises:
        FileNotFoundError: no such file.
        ValueError: override keys that do not parse or do not exist; all of them are listed.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such config; the shipped ones are under configs/')
    config = _load(path)
    config.pop('__doc__', None)  # the file's docstring, which is no setting
    _translate(config, path)
    faults = []
    for key, value in (overrides or {}).items():
        try:
            _override(config, key, value)
        except ValueError as e:
            faults.append(str(e))
    if faults:
        raise ValueError(f'{path}: ' + '; '.join(faults))
    _translate(config, path)
    return config


def _translate(config: todd.Config, path: pathlib.Path) -> None:
    for line in translate_config(config):
        runtime.get_logger().warning('%s: %s', path, line)


class _Layer(todd.Config):
    """A file before it is laid over its bases. todd drops ``_delete_`` on reading, with no effect."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name == _DELETE:
            self.data[name] = value
        else:
            super().__setitem__(name, value)

    def __iter__(self) -> Iterator[str]:
        # First of all, as it clears what is there.
        return iter(sorted(super().__iter__(), key=lambda name: name != _DELETE))


def _load(path: pathlib.Path) -> todd.Config:
    layer = _Layer.loads(path.read_text(encoding='utf-8'))
    config = todd.Config()
    bases = layer.pop('_base_', [])
    for base in [bases] if isinstance(bases, str) else bases:
        config.update(_load(path.parent / base))
    config.update(layer)
    return config


def _override(config: todd.Config, key: str, value: Any) -> None:
    *parents, last = _parse_key(key)
    node: Any = config
    walked = ''
    for step in parents:
        node = _child(node, step, key, walked)
        walked += _spell(step)
    is_component = isinstance(node, Mapping) and 'type' in node
    if not is_component or isinstance(last, int):
        _child(node, last, key, walked)
    if isinstance(node, tuple):
        raise ValueError(
            f'override {key!r}: {walked} is {node!r}, a tuple, which has no items to change; '
            'override it as a whole'
        )
    node[last] = value


def _parse_key(key: str) -> tuple[str | int, ...]:
    """``.a.b[0]`` to ``('a', 'b', 0)``, without evaluating anything."""
    steps: list[str | int] = []
    try:
        node = ast.parse(_PLAIN + key, mode='eval').body
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Attribute):
                steps.append(node.attr)
            else:
                steps.append(ast.literal_eval(node.slice))  # type: ignore[attr-defined]
            node = node.value  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError):
        steps = []
    if not steps or not key.startswith(('.', '[')):
        raise ValueError(
            f'override {key!r} is not a key: write .a.b or .a[0].b, with the first dot'
        )
    return tuple(reversed(steps))


def _child(node: Any, step: str | int, key: str, walked: str) -> Any:
    if isinstance(node, Mapping):
        if step in node:
            return node[step]
        found = f'has {sorted(map(str, node))}'
    elif isinstance(node, (list, tuple)) and isinstance(step, int):
        if -len(node) <= step < len(node):
            return node[step]
        found = f'has {len(node)} items'
    else:
        found = f'is {node!r}'
    raise ValueError(
        f'override {key!r}: no {_spell(step)} in {walked or "the config"}, which {found}'
    )


def _spell(step: str | int) -> str:
    return f'[{step}]' if isinstance(step, int) else f'.{step}'


class OverrideAction(todd.DictAction):
    """todd's ``--override``: ``.a.b:EXPR`` (a Python literal) or ``.a.b::TEXT``; may be repeated."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        before = getattr(namespace, self.dest, None) or {}
        for value in values:
            if ':' not in value:
                parser.error(f'{option_string} {value!r}: expected .key:EXPR or .key::TEXT')
        try:
            super().__call__(parser, namespace, values, option_string)
        except Exception as e:  # todd evaluates the expressions, so anything can come
            parser.error(
                f'{option_string} {" ".join(values)}: {e}; for a plain string write .key::TEXT'
            )
        setattr(namespace, self.dest, {**before, **getattr(namespace, self.dest)})


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``config`` and the option ``--override``, as every command has them."""
    parser.add_argument(
        'config', type=pathlib.Path, help='a Python config, such as those in configs/'
    )
    parser.add_argument(
        '--override',
        action=OverrideAction,
        default={},
        metavar='KEY:VALUE',
        help='change config keys: .a.b:EXPR for a Python value, .a.b::TEXT for a string',
    )


def to_plain(value: Any) -> Any:
    """A deep copy made of ``dict``, ``list`` and ``tuple`` alone.

    ``todd.Config`` keeps its items outside of the ``dict`` it inherits from, so C code (``json``,
    some of ``copy``) sees it empty.
    """
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(to_plain(v) for v in value)
    return value


def dump_config(config: todd.Config, path: str | os.PathLike) -> None:
    """Write the resolved config, as a file that can be run again. Atomic."""
    # Not todd's dumps(), which formats by yapf: that takes seconds.
    text = '\n'.join(
        f'{key} = {pprint.pformat(value, width=100, sort_dicts=False)}'
        for key, value in to_plain(config).items()
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')
