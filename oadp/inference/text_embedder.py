"""Compute text embeddings of names with CLIP, once per name.

They are those of ViLD's prompt file: the mean of CLIP's embeddings over its templates. A name takes 74
sentences, so its embedding is cached in the user's cache folder by the inputs that it depends on, and
CLIP is loaded only for a new name.
"""

__all__ = ['TextEmbedder']

import functools
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
import platformdirs
import torch
from torch import Tensor, nn

from oadp.clip.weights import CLIP_PATH, load_clip, tokenize
from oadp.prompts import templates
from oadp.prompts.ensemble import embed_names
from oadp.utils import runtime
from oadp.utils.files import atomic_write, sha256

_LAYOUT = 1
"""Part of every key: increase it when the embedding of a name changes."""

_logger = runtime.get_logger()


class TextEmbedder:
    """Text embeddings of names, from the cache or by CLIP.

    CLIP is loaded at the first name that is not cached, and is kept. The checksum of CLIP's file, a part
    of the cache's keys, is stored by path, size and time of change; if the file was deleted, its last
    checksum is used.

    Args:
        clip_path: CLIP's weights, see ``load_clip``.
        folder: the cache; the user's cache folder by default.
        device: device of CLIP.
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
            (n, d) float32 on the CPU, equal to the rows that ``python -m oadp.prompts.vild`` writes:
            means of unit vectors, with lengths a little below 1.

        Raises:
            FileNotFoundError: a name is new and CLIP's file does not exist.
            ValueError: names are too long for CLIP's context; all are listed.
        """
        with self._lock:
            checksum = self._checksum()
            paths = [self._path(checksum, name) for name in names]
            cached = [_read_array(path) for path in paths]
            rows = {i: row for i, row in enumerate(cached) if row is not None}
            new = [i for i, row in enumerate(cached) if row is None]
            if new:
                computed = self._compute([names[i] for i in new])
                for i, row in zip(new, computed.numpy(), strict=True):
                    rows[i] = row
                    self._write(paths[i], functools.partial(np.save, arr=row))
        if not rows:
            return torch.empty(0, 0)
        return torch.from_numpy(np.stack([rows[i] for i in range(len(names))]))

    def _compute(self, names: Sequence[str]) -> Tensor:
        if self._clip is None:
            self._clip = load_clip(self.clip_path, self._device)
        context: Any = self._clip.context_length
        long = [name for name in names if not _fits(name, context)]
        if long:
            raise ValueError(
                f'names too long for CLIP, whose context is {context} tokens including the words '
                f'around the name: {long}'
            )
        return embed_names(self._clip, names).float().cpu()

    def _path(self, checksum: str, name: str) -> pathlib.Path:
        key = json.dumps([_LAYOUT, checksum, templates.VILD, name])
        return self.folder / 'text' / f'{_hash(key)}.npy'

    def _checksum(self) -> str:
        """Return the SHA-256 of CLIP's file."""
        path = self.clip_path.absolute()
        note = self.folder / 'weights' / f'{_hash(str(path))}.json'
        known = _read_json(note)
        if not path.is_file():
            if known is None:
                return ''  # Matches no key, so load_clip reports the missing file.
            return known['sha256']
        stat = path.stat()
        state = {'path': str(path), 'size': stat.st_size, 'changed': stat.st_mtime_ns}
        if known is not None and {k: known.get(k) for k in state} == state:
            return known['sha256']
        checksum = sha256(path)
        content = json.dumps({**state, 'sha256': checksum})
        self._write(note, lambda f: f.write(content.encode()))
        return checksum

    def _write(self, path: pathlib.Path, write: Callable[[IO[bytes]], Any]) -> None:
        """Write a file of the cache, atomically. Log a warning if it cannot be written."""
        try:
            with atomic_write(path) as temporary, temporary.open('wb') as f:
                write(f)
        except OSError as e:
            _logger.warning('%s: not written, so it is computed again next time (%s)', path, e)


def _fits(name: str, context: int) -> bool:
    longest = max((t.format(name) for t in templates.VILD), key=len)
    try:
        tokenize([longest], context)
    except ValueError:
        return False
    return True


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_array(path: pathlib.Path) -> np.ndarray | None:
    try:
        row = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as e:
        _logger.warning('%s: broken cache file, computed again (%s)', path, e)
        return None
    return row if row.ndim == 1 and np.isfinite(row).all() else None


def _read_json(path: pathlib.Path) -> dict | None:
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and 'sha256' in data else None
