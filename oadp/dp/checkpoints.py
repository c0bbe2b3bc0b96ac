"""Reading and writing weights: safely, with a short account of what did not fit, and atomically."""

__all__ = ['computes_in_half', 'load_detector', 'load_weights', 'save_checkpoint']

import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.runner import wrap_fp16_model
from torch import Tensor, nn

from .. import runtime
from ..compat import load_tensors
from ..utils.disk import naming_full_disk
from ..utils.finite import refuse_non_finite
from .build import build_detector

_TEMPORARY_PREFIX = '.writing-'
_LISTED = 5

_STEPS = '._steps'
"""Counts what a loss has seen; a model that does not learn has no use for it."""


def load_weights(
    model: nn.Module,
    path: str | os.PathLike,
    *,
    skip_misfits: bool = False,
    logger: logging.Logger | None = None,
) -> None:
    """Load a checkpoint of mmcv's format, or a plain state dict, into a model.

    Keys that are unexpected, or missing with ``skip_misfits``, are logged, as a short list.

    Args:
        model: the model.
        path: the checkpoint.
        skip_misfits: do without tensors that are missing or of another shape (a checkpoint to
            start from) rather than refuse them (one to test).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or not of this model.
    """
    logger = logger or runtime.get_logger()
    state = _state_dict(load_tensors(path), path)
    own = model.state_dict()
    misfits = [k for k in state if k in own and state[k].shape != own[k].shape]
    if misfits and not skip_misfits:
        shapes = [f'{k}: {tuple(state[k].shape)}, not {tuple(own[k].shape)}' for k in misfits]
        raise ValueError(f'{path}: not a checkpoint of this config; {_short_list(shapes)}')
    fitting = {k: v for k, v in state.items() if k in own and k not in misfits}
    if not fitting:
        raise ValueError(
            f'{path}: none of its keys is one of the model; it has {_short_list(sorted(state))}, '
            f'the model {_short_list(sorted(own))}'
        )
    refuse_non_finite(
        fitting, path, 'a training of it diverged: take an earlier checkpoint', usual=own
    )
    # mmcv saves buffers that are not persistent, too: here, the text embeddings.
    known = set(own) | {name for name, _ in model.named_buffers()}
    lacking = [k for k in own if k not in state and not k.endswith(_STEPS)]
    surplus = [k for k in state if k not in known and not k.endswith(_STEPS)]
    if lacking and not skip_misfits:
        raise ValueError(
            f'{path}: not a checkpoint of this config; {len(lacking)} keys missing: '
            f'{_short_list(lacking)}; {len(surplus)} keys unexpected: {_short_list(surplus)}'
        )
    model.load_state_dict(fitting, strict=False)
    faults = {'missing': lacking, 'unexpected': surplus, 'of another shape': misfits}
    for fault, keys in faults.items():
        if keys:
            logger.warning('%s: %d keys %s: %s', path, len(keys), fault, _short_list(keys))
    logger.info('%s: loaded %d of %d tensors of the model', path, len(fitting), len(own))


def _state_dict(data: Any, path: str | os.PathLike) -> dict[str, Tensor]:
    state = data.get('state_dict', data) if isinstance(data, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f'{path}: expected a state dict, or a checkpoint that holds `state_dict`')
    return {k.removeprefix('module.'): v for k, v in state.items()}


def _short_list(items: Sequence[str]) -> str:
    more = f', … ({len(items)} in all)' if len(items) > _LISTED else ''
    return ', '.join(items[:_LISTED]) + more


def load_detector(
    config: Mapping[str, Any], checkpoint: str | os.PathLike, device: torch.device
) -> nn.Module:
    """A trained detector, in evaluation mode.

    On a GPU it computes in fp16 where ``validator.fp16`` is not None.

    Args:
        config: a whole loaded config, also one of mmdet's, which has no ``validator``.
        checkpoint: see ``load_weights``.
        device: where to put it.
    """
    detector = build_detector(config)
    load_weights(detector, checkpoint)
    if computes_in_half(config, device):
        wrap_fp16_model(detector)
    return detector.to(device).eval()


def computes_in_half(config: Mapping[str, Any], device: torch.device) -> bool:
    """Whether a detector of this config is evaluated in fp16 on this device."""
    fp16 = (config.get('validator') or {}).get('fp16')
    return device.type == 'cuda' and fp16 is not None


def save_checkpoint(path: str | os.PathLike, data: Mapping[str, Any], *, link: bool = True) -> None:
    """Write a checkpoint, atomically: under its name it is whole or not at all.

    Args:
        path: its folder must exist.
        data: mmcv's ``meta``, ``state_dict`` and ``optimizer``.
        link: let ``latest.pth`` beside it point to it.
    """
    path = pathlib.Path(path)
    for left in path.parent.glob(f'{_TEMPORARY_PREFIX}*'):
        left.unlink(missing_ok=True)  # of a run that was killed
    temporary = path.with_name(f'{_TEMPORARY_PREFIX}{path.name}')
    with naming_full_disk(path):
        torch.save(data, temporary)
    temporary.replace(path)
    if link:
        temporary.symlink_to(path.name)
        temporary.replace(path.with_name('latest.pth'))
