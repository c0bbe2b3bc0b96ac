"""Prompt files: names and their embeddings, as the detectors' classifiers read them."""

__all__ = ['load_prompts', 'output_path', 'save_prompts']

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oadp import compat
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file


def output_path(path: str | os.PathLike) -> pathlib.Path:
    """Return where to write: ``path``, or a file of that name aside under ``DRY_RUN``.

    Raises:
        ValueError: it could not be written.
    """
    path = runtime.output_path(path, 'prompts')
    check_file('--out', path)
    return path


def load_prompts(path: str | os.PathLike) -> dict[str, Any]:
    """Read a prompt file, ours or the authors'.

    Args:
        path: the file.

    Returns:
        ``names`` (n strings), ``embeddings`` ((n, d) float32), and ``scaler`` and ``bias`` (0-d) where
        the file has them.

    Raises:
        FileNotFoundError: no such file; says how to make one.
        ValueError: not a prompt file; says what it holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no prompt file there; see "Prompts" in the README')
    content = compat.load_tensors(path)
    if not isinstance(content, dict) or not {'names', 'embeddings'} <= content.keys():
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path}: expected a dict with names and embeddings, found {found}')
    names, embeddings = list(content['names']), content['embeddings'].float()
    if embeddings.ndim != 2 or len(embeddings) != len(names):
        raise ValueError(
            f'{path}: {len(names)} names, but embeddings of shape {tuple(embeddings.shape)}'
        )
    _refuse_non_finite(path, names, embeddings)
    scalars = {k: content[k].float() for k in ('scaler', 'bias') if k in content}
    if faulty := [k for k, v in scalars.items() if not bool(v.isfinite().all())]:
        raise ValueError(f'{path}: {faulty} not finite')
    return {'names': names, 'embeddings': embeddings, **scalars}


def _refuse_non_finite(path: pathlib.Path, names: Sequence[str], embeddings: Tensor) -> None:
    faulty = [n for n, e in zip(names, embeddings, strict=True) if not bool(e.isfinite().all())]
    if faulty:
        raise ValueError(f'{path}: embeddings that are not finite: {faulty[:10]}')


def save_prompts(
    path: str | os.PathLike, names: Sequence[str], embeddings: Tensor, **scalars: Tensor
) -> None:
    """Write a prompt file. Atomic.

    Args:
        path: the file; its folder is made.
        names: n category names, as in the category set.
        embeddings: (n, d).
        scalars: ``scaler`` and ``bias`` of the logits, 0-d, where they are learned.

    Raises:
        ValueError: names and embeddings do not go together, or a number is not finite.
    """
    path = pathlib.Path(path)
    if embeddings.ndim != 2 or len(embeddings) != len(names):
        raise ValueError(
            f'{path}: {len(names)} names, but embeddings of shape {tuple(embeddings.shape)}'
        )
    _refuse_non_finite(path, names, embeddings)
    content = {'names': list(names), 'embeddings': embeddings.detach().float().cpu().contiguous()}
    content |= {k: v.detach().float().cpu() for k, v in scalars.items()}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)
