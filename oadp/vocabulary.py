"""A vocabulary: the names to detect, and their text embeddings.

Names come from people (a command line, a text field), so they are cleaned and checked here, once.
Their embeddings are those of ViLD's prompt file: the mean over its templates of what CLIP's text
encoder says. A name costs 74 sentences, so each is kept in the user's cache folder under what it was
made from, and CLIP is loaded only when a name is new.
"""

__all__ = [
    'MAX_NAME_LENGTH',
    'PromptRows',
    'TextEmbedder',
    'clean_names',
    'loosen',
    'parse_names',
    'read_names',
]

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import platformdirs
import torch
from torch import Tensor, nn
from torch.nn import functional

from . import runtime
from .clip_model import CLIP_PATH, load_clip, tokenize
from .prompts import templates
from .prompts.files import load_prompts
from .prompts.vild import embed_names

MAX_NAME_LENGTH = 200  # characters; CLIP's 77 tokens hold fewer in any case

_LAYOUT = 1
"""Part of every key: to be raised when an embedding of the same name would come out differently."""

_UNIT_TOLERANCE = 1e-3  # of a row's length; prompt files that passed through fp16 are within 5e-4

_logger = runtime.get_logger()


def parse_names(text: str) -> list[str]:
    """Split what a person typed, at commas and line breaks. A last comma is no name.

    >>> parse_names('red kite, mug,')
    ['red kite', 'mug']
    """
    names = [name.strip() for name in re.split(r'[,\n]', text)]
    while names and not names[-1]:
        names.pop()
    return names


def read_names(path: str | os.PathLike) -> list[str]:
    """Read a vocabulary file: UTF-8 text, a name a line, which may have commas; blank lines count not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a text file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such vocabulary file; expected a text, a name a line')
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as e:
        raise ValueError(f'{path}: expected a UTF-8 text with a name a line ({e})') from e
    return [line.strip() for line in lines if line.strip()]


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
    for name in (' '.join(name.split()) for name in names):
        if not name:
            warn('an empty name is left out')
        elif name.casefold() in kept:
            warn(f'{name!r} is given twice: the first one counts')
        else:
            kept[name.casefold()] = name
    long = [f'{name[:40]}… ({len(name)})' for name in kept.values() if len(name) > MAX_NAME_LENGTH]
    if long:
        raise ValueError(
            f'names of more than {MAX_NAME_LENGTH} characters: {"; ".join(long)}; separate names by '
            'commas or line breaks'
        )
    if not kept:
        raise ValueError('the vocabulary has no name: expected at least one')
    return list(kept.values())


class TextEmbedder:
    """Text embeddings of names, from the cache where they are in it, else by CLIP.

    CLIP is loaded at the first name that is not in the cache, and stays. To know the cache's key
    without CLIP's file, the file's checksum is kept by path, size and time of change; where the file
    is gone, the checksum it had serves.

    Args:
        clip_path: CLIP's weights, see ``load_clip``.
        folder: where to keep embeddings; the user's cache folder by default.
        device: where CLIP is put.
    """

    def __init__(
        self,
        clip_path: str | os.PathLike = CLIP_PATH,
        folder: str | os.PathLike | None = None,
        device: str | torch.device = 'cpu',
    ) -> None:
        self.clip_path = pathlib.Path(clip_path)
        if folder is None:
            folder = platformdirs.user_cache_path('oadp', appauthor=False)
        self.folder = pathlib.Path(folder)
        self._device = device
        self._clip: nn.Module | None = None
        self._lock = threading.Lock()

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Embed names.

        Args:
            names: n names, clean.

        Returns:
            (n, d) float32 on the CPU, the rows that ``python -m oadp.prompts.vild`` would write:
            means of unit vectors, so themselves a little shorter.

        Raises:
            FileNotFoundError: a name is new and CLIP's file is not there.
            ValueError: names too long for CLIP's context; all are listed.
        """
        with self._lock:
            checksum = self._checksum()
            paths = [self._path(checksum, name) for name in names]
            rows = [_read_array(path) for path in paths]
            new = [i for i, row in enumerate(rows) if row is None]
            if new:
                computed = self._compute([names[i] for i in new])
                for i, row in zip(new, computed.numpy(), strict=True):
                    rows[i] = row
                    self._write(paths[i], lambda f, row=row: np.save(f, row))
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, 0)

    def _compute(self, names: Sequence[str]) -> Tensor:
        if self._clip is None:
            self._clip = load_clip(self.clip_path, self._device)
        context = self._clip.context_length
        long = [name for name in names if not _fits(name, context)]
        if long:
            raise ValueError(
                f'too long for CLIP, whose context is {context} tokens with the words around the '
                f'name: {long}'
            )
        return embed_names(self._clip, names).float().cpu()

    def _path(self, checksum: str, name: str) -> pathlib.Path:
        key = json.dumps([_LAYOUT, checksum, templates.VILD, name])
        return self.folder / 'text' / f'{_sha256(key)}.npy'

    def _checksum(self) -> str:
        """SHA-256 of CLIP's file."""
        path = self.clip_path.absolute()
        note = self.folder / 'weights' / f'{_sha256(str(path))}.json'
        known = _read_json(note)
        if not path.is_file():
            if known is None:
                return ''  # Matches nothing, so the loader says what is missing.
            return known['sha256']
        stat = path.stat()
        state = {'path': str(path), 'size': stat.st_size, 'changed': stat.st_mtime_ns}
        if known is not None and {k: known.get(k) for k in state} == state:
            return known['sha256']
        with path.open('rb') as f:
            digest = hashlib.sha256()
            while block := f.read(1 << 20):
                digest.update(block)
        content = json.dumps({**state, 'sha256': digest.hexdigest()})
        self._write(note, lambda f: f.write(content.encode()))
        return digest.hexdigest()

    def _write(self, path: pathlib.Path, write: Callable) -> None:
        """Atomic. A cache that cannot be written is no reason to stop."""
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
                temporary = pathlib.Path(f.name)
                write(f)
            temporary.replace(path)
        except OSError as e:
            _logger.warning('%s: not written, so this is computed again next time (%s)', path, e)
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def _fits(name: str, context: int) -> bool:
    longest = max((t.format(name) for t in templates.VILD), key=len)
    try:
        tokenize([longest], context)
    except ValueError:
        return False
    return True


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_array(path: pathlib.Path) -> np.ndarray | None:
    try:
        row = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as e:
        _logger.warning('%s: a broken cache file, computed again (%s)', path, e)
        return None
    return row if row.ndim == 1 and np.isfinite(row).all() else None


def _read_json(path: pathlib.Path) -> dict | None:
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and 'sha256' in data else None


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
    embeddings: Tensor

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'PromptRows':
        """Read a prompt file; errors are those of ``load_prompts``."""
        prompts = load_prompts(path)
        return cls(str(path), tuple(prompts['names']), prompts['embeddings'])

    def matrix(self, names: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
        """A classifier's matrix for a vocabulary.

        A name that the file has keeps the file's row, bit for bit, so that a known class is detected
        as it always was; capitals, and blanks for underscores, make no difference. Any other name
        gets its row from ``embed``. Where the file's rows are of unit length, as learned prompts
        are, the new row is brought to it: a shorter one would rank its class below the others for
        no reason.

        Args:
            names: C clean names.
            embed: gives (m, d) embeddings of the m names that the file does not have; not called
                where there is none.

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
            rows = embed([names[c] for c in new])
            if rows.shape[1] != matrix.shape[1]:
                raise ValueError(
                    f'CLIP gives embeddings of {rows.shape[1]} numbers, {self.path} has '
                    f'{matrix.shape[1]}: give the CLIP that the detector was taught by (--clip)'
                )
            lengths = self.embeddings.norm(dim=1)
            if bool(((lengths - 1).abs() < _UNIT_TOLERANCE).all()):
                rows = functional.normalize(rows, dim=1)
            matrix[new] = rows
        return matrix


def loosen(name: str) -> str:
    """What two spellings of a name have in common.

    >>> loosen('Wine_glass')
    'wine glass'
    """
    return ' '.join(name.replace('_', ' ').split()).casefold()
