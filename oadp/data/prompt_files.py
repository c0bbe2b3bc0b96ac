"""Read and write prompt files: category names with their text embeddings.

The classifiers of the detectors and the vocabulary read these files; ``oadp.prompts`` writes them.
"""

__all__ = ['output_path', 'read_prompts', 'save_prompts']

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from oadp import compat
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file


def output_path(path: str | os.PathLike) -> pathlib.Path:
    """Return the path to write to: ``path``, or a file of that name in another folder under ``DRY_RUN``.

    Raises:
        ValueError: the file could not be written.
    """
    path = runtime.output_path(path, 'prompts')
    check_file('--out', path)
    return path


def read_prompts(path: str | os.PathLike) -> dict[str, Any]:
    """Read a prompt file, of this project or of the authors.

    Args:
        path: the file.

    Returns:
        A dict with ``names`` (list of n strings), ``embeddings`` ((n, d) float32), and ``scaler`` and
        ``bias`` (0-d float32) if the file contains them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a prompt file, or a number in it is not finite.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such prompt file; section "Prompts" of the README says how to make it or '
            'where to get it'
        )
    content = compat.load_tensors(path)
    if not isinstance(content, Mapping) or not {'names', 'embeddings'} <= content.keys():
        found = (
            sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        )
        raise ValueError(f'{path}: expected a dict with "names" and "embeddings", found {found}')
    names = list(content['names'])
    embeddings = torch.as_tensor(content['embeddings']).float()
    _check(path, names, embeddings)
    scalars = {k: torch.as_tensor(content[k]).float() for k in ('scaler', 'bias') if k in content}
    if faulty := [k for k, v in scalars.items() if not bool(v.isfinite().all())]:
        raise ValueError(f'{path}: {faulty} not finite; make or download the file again')
    return {'names': names, 'embeddings': embeddings, **scalars}


def _check(path: pathlib.Path, names: Sequence[str], embeddings: Tensor) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(names):
        raise ValueError(
            f'{path}: expected an embedding for each of {len(names)} names, found a tensor of shape '
            f'{tuple(embeddings.shape)}'
        )
    faulty = [n for n, e in zip(names, embeddings, strict=True) if not bool(e.isfinite().all())]
    if faulty:
        raise ValueError(f'{path}: embeddings that are not finite: {faulty[:10]}')


def save_prompts(
    path: str | os.PathLike, names: Sequence[str], embeddings: Tensor, **scalars: Tensor
) -> None:
    """Write a prompt file. Atomic.

    Args:
        path: the file; its folder is created.
        names: n category names, as in the category set.
        embeddings: (n, d).
        scalars: learned ``scaler`` and ``bias`` of the logits, 0-d.

    Raises:
        ValueError: not one embedding for each name, or a number that is not finite.
    """
    path = pathlib.Path(path)
    _check(path, names, embeddings)
    content = {'names': list(names), 'embeddings': embeddings.detach().float().cpu().contiguous()}
    content |= {k: v.detach().float().cpu() for k, v in scalars.items()}
    with atomic_write(path) as temporary:
        torch.save(content, temporary)
