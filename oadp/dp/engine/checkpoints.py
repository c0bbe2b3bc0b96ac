"""Reading and writing weights: safely, with a short account of what did not fit, and atomically."""

__all__ = [
    'computes_in_half',
    'is_switched_on',
    'load_detector',
    'load_run',
    'load_weights',
    'save_checkpoint',
]

import dataclasses
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.runner import wrap_fp16_model
from torch import Tensor, nn

from oadp.compat import load_tensors
from oadp.dp.build import build_detector
from oadp.utils import runtime
from oadp.utils.files import atomic_symlink, atomic_write
from oadp.utils.finite import refuse_non_finite

_LISTED = 5

_STEPS = '._steps'
"""Counts what a loss has seen; a model that does not learn has no use for it."""

_IGNORED = (_STEPS, '._embeddings', '.is_base', 'roi_head._lambda')
"""Ends of keys that a checkpoint may have, to no effect. mmcv saves buffers that are not persistent, too:
what is read from the prompt files. The authors' code has the exponents of the score fusion as a buffer."""

_DISTILLER = '_distiller.'
_TRAINING_ONLY = ('_global_head.', 'roi_head._block_head.', _DISTILLER)
"""Begins of the keys of parts that inference does not use."""


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """How the keys of a checkpoint compare with those of a model; all are lists of keys.

    Attributes:
        fitting: in both, of the same shape.
        misfits: in both, of another shape.
        lacking: of the model alone, and needed.
        untrained: of the model alone, in parts that only training uses.
        surplus: of the checkpoint alone.
        left_out: of the checkpoint alone, in parts that only training uses.
    """

    fitting: list[str]
    misfits: list[str]
    lacking: list[str]
    untrained: list[str]
    surplus: list[str]
    left_out: list[str]

    @classmethod
    def of(cls, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> '_Comparison':
        """Compare, apart from the keys that no model needs or reads."""
        common = [k for k in state if k in own]
        lacking = [k for k in own if k not in state]
        surplus = [k for k in state if k not in own and not k.endswith(_IGNORED)]
        return cls(
            fitting=[k for k in common if state[k].shape == own[k].shape],
            misfits=[k for k in common if state[k].shape != own[k].shape],
            lacking=[k for k in lacking if not k.startswith(_TRAINING_ONLY)],
            untrained=[k for k in lacking if k.startswith(_TRAINING_ONLY)],
            surplus=[k for k in surplus if not k.startswith(_TRAINING_ONLY)],
            left_out=[k for k in surplus if k.startswith(_TRAINING_ONLY)],
        )


def load_weights(
    model: nn.Module,
    path: str | os.PathLike,
    *,
    skip_misfits: bool = False,
    logger: logging.Logger | None = None,
) -> None:
    """Load a checkpoint of mmcv's format, or a plain state dict (torch or safetensors), into a model.

    Keys that only the checkpoint has are logged, as a short list; so are those that only the model
    has, where they belong to the global head or the block head, which inference does not use.

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
    state, own = _state_dict(_read(path), path), model.state_dict()
    found = _Comparison.of(state, own)
    if found.misfits and not skip_misfits:
        raise ValueError(f'{path}: not a checkpoint of this config; {_shapes(found, state, own)}')
    if not found.fitting:
        raise ValueError(
            f'{path}: none of its keys is one of the model; it has {_short_list(sorted(state))}, '
            f'the model {_short_list(sorted(own))}'
        )
    refuse_non_finite(
        {k: state[k] for k in found.fitting},
        path,
        'a training of it diverged: take an earlier checkpoint',
        usual=own,
    )
    if found.lacking and not skip_misfits:
        raise ValueError(
            f'{path}: not a checkpoint of this config; {len(found.lacking)} keys missing: '
            f'{_short_list(found.lacking)}; {len(found.surplus)} keys unexpected: '
            f'{_short_list(found.surplus)}'
        )
    model.load_state_dict({k: state[k] for k in found.fitting}, strict=False)
    lacking = found.lacking + (found.untrained if skip_misfits else [])
    for fault, keys in {
        'missing': [k for k in lacking if not k.endswith(_STEPS)],
        'unexpected': found.surplus,
        'of another shape': found.misfits,
    }.items():
        if keys:
            logger.warning('%s: %d keys %s: %s', path, len(keys), fault, _short_list(keys))
    if not skip_misfits:
        _report_parts(path, found.untrained, 'missing', logger)
    _report_parts(path, found.left_out, 'unexpected', logger)
    logger.info('%s: loaded %d of %d tensors of the model', path, len(found.fitting), len(own))


def _report_parts(
    path: str | os.PathLike, keys: Sequence[str], fault: str, logger: logging.Logger
) -> None:
    keys = [k for k in keys if not k.startswith(_DISTILLER) and not k.endswith(_STEPS)]
    parts = [p.strip('.') for p in _TRAINING_ONLY if any(k.startswith(p) for k in keys)]
    if parts:
        logger.info(
            '%s: %d keys of %s %s; inference does not use them',
            path,
            len(keys),
            ' and '.join(parts),
            fault,
        )


def load_run(
    model: nn.Module, path: str | os.PathLike, logger: logging.Logger | None = None
) -> dict[str, Any]:
    """Load the weights of a run that is to go on; return the whole checkpoint.

    Args:
        model: the model, whose every tensor must be in the checkpoint.
        path: a checkpoint of this project's training, or of the authors'.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or its keys are not those of this model.
    """
    logger = logger or runtime.get_logger()
    data = load_tensors(path)
    state, own = _state_dict(data, path), model.state_dict()
    found = _Comparison.of(state, own)
    faults = {
        'missing': found.lacking + found.untrained,
        'unexpected': found.surplus + found.left_out,
    }
    listed = [f'{len(v)} keys {k}: {_short_list(v)}' for k, v in faults.items() if v]
    if found.misfits:
        listed.append(_shapes(found, state, own))
    if listed:
        raise ValueError(
            f'{path}: not of a run of this config; {"; ".join(listed)}. Resume with the config '
            'of that run, or start from its weights with .trainer.load_from'
        )
    model.load_state_dict({k: state[k] for k in found.fitting})
    ignored = [k for k in state if k not in own]
    if ignored:
        logger.info('%s: %d keys are not needed: %s', path, len(ignored), _short_list(ignored))
    return data


def _shapes(found: _Comparison, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return _short_list(
        [f'{k}: {tuple(state[k].shape)}, not {tuple(own[k].shape)}' for k in found.misfits]
    )


def _read(path: str | os.PathLike) -> Any:
    if pathlib.Path(path).suffix != '.safetensors' or not pathlib.Path(path).is_file():
        return load_tensors(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as e:
        raise ValueError(f'{path}: not a safetensors file ({e})') from e


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

    It computes in float32, as the authors' does; on a GPU, in fp16 where ``validator.fp16`` is on.

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
    return device.type == 'cuda' and is_switched_on(fp16)


def is_switched_on(fp16: Any) -> bool:
    """Whether a config's ``fp16`` is true or a dictionary, as in mmdet even an empty one."""
    return isinstance(fp16, Mapping) or bool(fp16)


def save_checkpoint(path: str | os.PathLike, data: Mapping[str, Any], *, link: bool = True) -> None:
    """Write a checkpoint, atomically: under its name it is whole or not at all.

    Args:
        path: the file.
        data: mmcv's ``meta``, ``state_dict`` and ``optimizer``.
        link: let ``latest.pth`` beside it point to it.
    """
    path = pathlib.Path(path)
    with atomic_write(path) as temporary:
        torch.save(data, temporary)
    if link:
        atomic_symlink(path.with_name('latest.pth'), path.name)
