"""The base and novel categories of a dataset.

A category set is two lists of names in a JSON file. The two sets of the paper are in this folder; a
user's own set is a file of the same format, whose path is accepted wherever the name of a set is
(configs, commands, Python).
"""

__all__ = ['Categories', 'config_categories', 'get_categories']

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from oadp.utils.json_text import read_json

_FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Categories:
    """Ordered category set: base classes first, then novel ones. The index of a name is its label.

    Attributes:
        bases: names of the classes with box annotations in training.
        novels: names of the classes seen only at evaluation.

    >>> categories = Categories(bases=('cat', 'dog'), novels=('fox',))
    >>> categories.all_, categories.num_all
    (('cat', 'dog', 'fox'), 3)
    """

    bases: tuple[str, ...]
    novels: tuple[str, ...]

    def __post_init__(self) -> None:
        faults = [] if self.bases else ['expected at least one base class, found none']
        faults += [
            f'{name!r} is not a non-empty string'
            for name in self.all_
            if not isinstance(name, str) or not name.strip()
        ]
        counts = collections.Counter(name for name in self.all_ if isinstance(name, str))
        faults += [f'{name!r} is listed {n} times' for name, n in counts.items() if n > 1]
        if faults:
            raise ValueError('bad category set: ' + '; '.join(faults))

    @property
    def all_(self) -> tuple[str, ...]:
        """Names of all classes, in the order of their labels."""
        return self.bases + self.novels

    @property
    def num_bases(self) -> int:
        """Number of base classes."""
        return len(self.bases)

    @property
    def num_novels(self) -> int:
        """Number of novel classes."""
        return len(self.novels)

    @property
    def num_all(self) -> int:
        """Number of base and novel classes."""
        return self.num_bases + self.num_novels


def get_categories(name: str) -> Categories:
    """Look up a category set.

    Args:
        name: ``'coco'`` (48 base, 17 novel), ``'lvis'`` (866 base, 337 novel), or the path of a
            JSON file ``{"bases": [names], "novels": [names]}``.

    Raises:
        ValueError: the name is unknown, or the file does not contain two lists of names.
        FileNotFoundError: the JSON file does not exist.
    """
    built_in = sorted(p.stem for p in _FOLDER.glob('*.json'))
    if name in built_in:
        return _load(_FOLDER / f'{name}.json')
    path = pathlib.Path(name)
    if path.suffix != '.json':
        raise ValueError(f'unknown categories {name!r}; choose from {built_in} or give a JSON file')
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such category file; expected a JSON of {{"bases": [...], "novels": [...]}}'
        )
    # Not cached: the file may change while the process runs, for example in a notebook.
    return _read(path)


def config_categories(config: Mapping[str, Any]) -> Categories:
    """Look up the category set that a whole config names.

    Raises:
        ValueError: the config names none; else as ``get_categories``.
        FileNotFoundError: see ``get_categories``.
    """
    name = config.get('categories')
    if not isinstance(name, str):
        raise ValueError(
            f"the config has no 'categories' (found {name!r:.80}); expected 'coco', 'lvis' or the "
            'path of a JSON file'
        )
    return get_categories(name)


def _read(path: pathlib.Path) -> Categories:
    data = read_json(path)
    if not isinstance(data, dict) or not all(
        isinstance(data.get(k), list) for k in ('bases', 'novels')
    ):
        raise ValueError(f'{path}: expected an object with the lists "bases" and "novels"')
    try:
        return Categories(bases=tuple(data['bases']), novels=tuple(data['novels']))
    except ValueError as e:
        raise ValueError(f'{path}: {e}') from e


_load = functools.lru_cache(maxsize=None)(_read)
