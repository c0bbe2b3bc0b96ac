"""A vocabulary: the names to detect, and the matrix that a classifier gets for them.

Names come from people (a command line, a text field), so they are cleaned and checked here, once.
What a prompt file says of a name stands; only for others a text embedding is asked for.
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

MAX_NAME_LENGTH = 200  # characters; CLIP's 77 tokens hold fewer in any case

_FOREIGN_SEPARATORS = re.compile('[，、；﹐﹑﹔､،؛]')  # full width, small, half width, Arabic
_SEPARATORS = re.compile(rf'\r\n|[,;\r\n\u2028\u2029]|{_FOREIGN_SEPARATORS.pattern}')

_MAX_FILE = 8 << 20  # bytes of a vocabulary file; LVIS's 1,203 names have 20,000
_LISTED = 5  # names in a message

_UNIT_TOLERANCE = 1e-3  # of a row's length; prompt files that passed through fp16 are within 5e-4

_logger = runtime.get_logger()


def parse_names(text: str) -> list[str]:
    """Split what a person typed, at commas, semicolons and line breaks. A last comma is no name.

    Chinese, Japanese and Arabic commas separate as well. JSON is read as in a vocabulary file.

    Raises:
        ValueError: JSON of another form.

    >>> parse_names('red kite, mug,'), parse_names('猫、狗'), parse_names('[["mug"], ["cat"]]')
    (['red kite', 'mug'], ['猫', '狗'], ['mug', 'cat'])
    """
    if _is_json(text):
        return _names_of_json(text)
    return _without_last_blanks(name.strip() for name in _SEPARATORS.split(text))


def read_names(path: str | os.PathLike) -> list[str]:
    """Read a vocabulary file: a name a line, or JSON. UTF-8; blank lines do not count.

    A name may have commas, such as *bow, of a ship*; the commas of ``parse_names`` that are not ASCII
    separate names here as well. JSON is a list of names, a list of lists of them, or a category file of
    this project (``bases`` and ``novels``).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a text file, or JSON of another form.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such vocabulary file; expected a text, a name a line')
    if path.stat().st_size > _MAX_FILE:
        raise ValueError(
            f'{path}: {path.stat().st_size} bytes; a vocabulary has {_MAX_FILE} at most'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as e:
        raise ValueError(f'{path}: expected a UTF-8 text with a name a line ({e})') from e
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
            f'starts as JSON does and is none ({e}); expected a name a line, or a JSON list of names'
        ) from None
    if isinstance(content, dict) and {*content} & {'bases', 'novels'}:
        content = [content.get('bases', []), content.get('novels', [])]
    names = []
    for item in content if isinstance(content, list) else [None]:
        names += item if isinstance(item, list) else [item]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            'expected a JSON list of names, a list of lists of names, or an object with "bases" and '
            f'"novels"; found {str(content):.60}'
        )
    return names


def clean_names(names: Iterable[str], warn: Callable[[str], object] = _logger.warning) -> list[str]:
    """Take out surplus white space, empty names and repetitions.

    CLIP does not tell capitals from small letters, so names that differ in them alone are the same:
    the first one stays.

    Args:
        names: as given.
        warn: called with a sentence on what was left out.

    Raises:
        TypeError: a string in place of a list, or a name that is none.
        ValueError: over-long names (all are listed), or no name at all.

    >>> clean_names(['mug ', 'red  kite', 'Mug'], warn=print)
    'Mug' is given twice: the first one counts
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
    # A sentence for all of them: a text of one word many times has a hundred thousand.
    if num_empty:
        warn(
            'an empty name is left out'
            if num_empty == 1
            else f'{num_empty} empty names are left out'
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
        raise ValueError('the vocabulary has no name: expected at least one')
    return list(kept.values())


def _describe_repeated(names: Sequence[str]) -> str:
    shown = ', '.join(repr(name[:40]) for name in names[:_LISTED])
    if len(names) == 1:
        return f'{shown} is given twice: the first one counts'
    more = f', … ({len(names)} in all)' if len(names) > _LISTED else ''
    return f'{shown}{more} are given twice: the first ones count'


@dataclasses.dataclass(frozen=True)
class PromptRows:
    """A prompt file as a dictionary of names, which new names join.

    Attributes:
        path: where it was read.
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
            read_prompts,  # torch, which an exported detector runs without
        )

        prompts = read_prompts(path)
        return cls(str(path), tuple(prompts['names']), prompts['embeddings'].numpy())

    def matrix(self, names: Sequence[str], embed: Callable[[Sequence[str]], Any]) -> np.ndarray:
        """A classifier's matrix for a vocabulary.

        A name that the file has keeps the file's row, bit for bit, so that a known class is detected
        as it always was; capitals, and blanks for underscores, make no difference. Any other name
        gets its row from ``embed``. Where the file's rows are of unit length, as learned prompts
        are, the new row is brought to it: a shorter one would rank its class below the others for
        no reason.

        Args:
            names: C clean names.
            embed: gives (m, d) embeddings, an array or a tensor on the CPU, of the m names that the
                file does not have; not called where there is none.

        Returns:
            (C, d) float32.

        Raises:
            ValueError: ``embed`` gives another dimension than the file has.
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
                    f'{matrix.shape[1]}: give the CLIP that the detector was taught by (--clip)'
                )
            lengths = np.linalg.norm(self.embeddings, axis=1)
            if (np.abs(lengths - 1) < _UNIT_TOLERANCE).all():
                rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            matrix[new] = rows
        return matrix


def loosen(name: str) -> str:
    """What two spellings of a name have in common.

    >>> loosen('Wine_glass')
    'wine glass'
    """
    return ' '.join(name.replace('_', ' ').split()).casefold()
