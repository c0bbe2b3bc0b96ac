"""A vocabulary: the names to detect, and the classifier's matrix for them.

Names are typed by people (on a command line, in a text field), so this module cleans and checks them.
A name that a prompt file contains keeps its embedding there; the text encoder is used only for others.
"""

__all__ = [
    'MAX_NAME_LENGTH',
    'PromptRows',
    'clean_names',
    'loosen',
    'parse_names',
    'read_names',
]

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from oadp.utils import runtime

MAX_NAME_LENGTH = 200  # characters; always more than CLIP's 77 tokens

_FOREIGN_SEPARATORS = re.compile('[，、；﹐﹑﹔､،؛]')  # full width, small, half width, Arabic
_SEPARATORS = re.compile(rf'\r\n|[,;\r\n\u2028\u2029]|{_FOREIGN_SEPARATORS.pattern}')

_MAX_FILE = 8 << 20  # bytes of a vocabulary file; LVIS's 1,203 names have 20,000
_LISTED = 5  # names in a message

_UNIT_TOLERANCE = 1e-3  # of a row's length; rows that were converted to fp16 are within 5e-4

_logger = runtime.get_logger()


def parse_names(text: str) -> list[str]:
    """Split a text at commas, semicolons and line breaks. A trailing comma is ignored.

    Chinese, Japanese and Arabic commas are separators, too. JSON is read as in a vocabulary file.

    Raises:
        ValueError: JSON of another format.

    >>> parse_names('red kite, mug,'), parse_names('猫、狗'), parse_names('[["mug"], ["cat"]]')
    (['red kite', 'mug'], ['猫', '狗'], ['mug', 'cat'])
    """
    if _is_json(text):
        return _names_of_json(text)
    return _without_last_blanks(name.strip() for name in _SEPARATORS.split(text))


def read_names(path: str | os.PathLike) -> list[str]:
    """Read a vocabulary file: one name per line, or JSON. UTF-8; blank lines are ignored.

    A name may contain ASCII commas, such as *bow, of a ship*; the other commas of ``parse_names`` are
    separators here, too. JSON is a list of names, a list of lists of names, or a category file of this
    project (``bases`` and ``novels``).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a text file, or JSON of another format.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such vocabulary file; expected a text file with one name per line'
        )
    if path.stat().st_size > _MAX_FILE:
        raise ValueError(
            f'{path}: {path.stat().st_size} bytes; expected a vocabulary of at most {_MAX_FILE}'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as e:
        raise ValueError(f'{path}: expected a UTF-8 text file with one name per line ({e})') from e
    if _is_json(text):
        try:
            return _names_of_json(text)
        except ValueError as e:
            raise ValueError(f'{path}: {e}') from None
    names = (n.strip() for line in text.splitlines() for n in _FOREIGN_SEPARATORS.split(line))
    return [name for name in names if name]


def _without_last_blanks(names: Iterable[str]) -> list[str]:
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _is_json(text: str) -> bool:
    return text.lstrip().startswith(('[', '{'))


def _names_of_json(text: str) -> list[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError(
            f'starts like JSON but is not valid ({e}); expected one name per line, or a JSON list of names'
        ) from None
    if isinstance(content, dict) and {*content} & {'bases', 'novels'}:
        content = [content.get('bases', []), content.get('novels', [])]
    names: list[Any] = []
    for item in content if isinstance(content, list) else [None]:
        names += item if isinstance(item, list) else [item]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            'expected a JSON list of names, a list of lists of names, or an object with "bases" and '
            f'"novels"; found {str(content):.60}'
        )
    return names


def clean_names(names: Iterable[str], warn: Callable[[str], object] = _logger.warning) -> list[str]:
    """Remove surplus white space, empty names and repetitions.

    CLIP ignores case, so names that differ only in case are the same: the first one is kept.

    Args:
        names: the names as typed.
        warn: called with a sentence that describes the removed names.

    Raises:
        TypeError: ``names`` is a string, or contains something else than strings.
        ValueError: names are too long (all are listed), or there is no name.

    >>> clean_names(['mug ', 'red  kite', 'Mug'], warn=print)
    'Mug' is given twice: the first one is used
    ['mug', 'red kite']
    """
    if isinstance(names, str):
        raise TypeError(f'expected a list of names, found the string {names!r}; see parse_names')
    names = list(names)
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        raise TypeError(f'expected names as strings, found {strange!r:.200}')
    kept: dict[str, str] = {}
    repeated: dict[str, str] = {}
    num_empty = 0
    for name in (' '.join(name.split()) for name in names):
        if not name:
            num_empty += 1
        elif name.casefold() in kept:
            repeated.setdefault(name.casefold(), name)
        else:
            kept[name.casefold()] = name
    # One sentence for all: a text may repeat a word a hundred thousand times.
    if num_empty:
        warn(
            'an empty name is ignored' if num_empty == 1 else f'{num_empty} empty names are ignored'
        )
    if repeated:
        warn(_describe_repeated([*repeated.values()]))
    too_long = [name for name in kept.values() if len(name) > MAX_NAME_LENGTH]
    long = [f'{name[:40]}… ({len(name)})' for name in too_long[:_LISTED]]
    if long:
        raise ValueError(
            f'names of more than {MAX_NAME_LENGTH} characters: {"; ".join(long)}; separate names by '
            'commas or line breaks'
        )
    if not kept:
        raise ValueError('expected at least one name, found none')
    return list(kept.values())


def _describe_repeated(names: Sequence[str]) -> str:
    shown = ', '.join(repr(name[:40]) for name in names[:_LISTED])
    if len(names) == 1:
        return f'{shown} is given twice: the first one is used'
    more = f', … ({len(names)} in all)' if len(names) > _LISTED else ''
    return f'{shown}{more} are given twice: the first ones are used'


@dataclasses.dataclass(frozen=True)
class PromptRows:
    """The embeddings of a prompt file by name, to which new names can be added.

    Attributes:
        path: the prompt file.
        names: n names.
        embeddings: (n, d) float32.
    """

    path: str
    names: tuple[str, ...]
    embeddings: np.ndarray

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'PromptRows':
        """Read a prompt file; errors are those of ``read_prompts``."""
        from oadp.data.prompt_files import (
            read_prompts,  # needs torch, without which exported detectors run
        )

        prompts = read_prompts(path)
        return cls(str(path), tuple(prompts['names']), prompts['embeddings'].numpy())

    def matrix(self, names: Sequence[str], embed: Callable[[Sequence[str]], Any]) -> np.ndarray:
        """Return the classifier's matrix for a vocabulary.

        A name in the file keeps its row, bit for bit, so the detections of a known class do not change;
        case, and spaces in place of underscores, are ignored. Any other name gets its row from
        ``embed``. If the file's rows have unit length, as learned prompts do, the new row is
        normalized: a shorter one would reduce the scores of its class.

        Args:
            names: C clean names.
            embed: return (m, d) embeddings, an array or a tensor on the CPU, of the m names that are
                not in the file; not called if there are none.

        Returns:
            (C, d) float32.

        Raises:
            ValueError: ``embed`` returns embeddings of another dimension.
        """
        exact = {name: i for i, name in enumerate(self.names)}
        loose = {loosen(name): i for name, i in reversed(exact.items())}
        index = [exact.get(name, loose.get(loosen(name))) for name in names]
        matrix = self.embeddings[[i or 0 for i in index]]
        new = [c for c, i in enumerate(index) if i is None]
        if new:
            rows = np.asarray(embed([names[c] for c in new]), dtype=np.float32)
            if rows.shape[1] != matrix.shape[1]:
                raise ValueError(
                    f'CLIP gives embeddings of {rows.shape[1]} numbers, {self.path} has '
                    f'{matrix.shape[1]}: give the CLIP that the detector was trained with (--clip)'
                )
            lengths = np.linalg.norm(self.embeddings, axis=1)
            if (np.abs(lengths - 1) < _UNIT_TOLERANCE).all():
                rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            matrix[new] = rows
        return matrix


def loosen(name: str) -> str:
    """Return a key that is equal for two spellings of a name.

    >>> loosen('Wine_glass')
    'wine glass'
    """
    return ' '.join(name.replace('_', ' ').split()).casefold()
