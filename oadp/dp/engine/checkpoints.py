"""Read weights safely, with a short report of the keys that do not match, and write them atomically."""

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
"""The end of the keys of the losses' step counters, which only training uses."""

_IGNORED = (_STEPS, '._embeddings', '.is_base', 'roi_head._lambda')
"""The ends of keys that a checkpoint may have and that are ignored. mmcv also saves buffers that are not
persistent, which are read from the prompt files. In the authors' code, the exponents of the score
fusion are a buffer."""

_DISTILLER = '_distiller.'
_TRAINING_ONLY = ('_global_head.', 'roi_head._block_head.', _DISTILLER)
"""The beginnings of the keys of parts that inference does not use."""


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """The keys of a checkpoint compared with those of a model; all are lists of keys.

    Attributes:
        fitting: in both, with the same shape.
        misfits: in both, with different shapes.
        lacking: only in the model, and required.
        untrained: only in the model, in parts that only training uses.
        surplus: only in the checkpoint.
        left_out: only in the checkpoint, in parts that only training uses.
    """

    fitting: list[str]
    misfits: list[str]
    lacking: list[str]
    untrained: list[str]
    surplus: list[str]
    left_out: list[str]

    @classmethod
    def of(cls, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> '_Comparison':
        """Compare the keys of two state dicts, except those that are ignored."""
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

    Keys that exist only in the checkpoint are logged as a short list. Keys that exist only in the
    model are logged, too, if they belong to the global head or the block head, which inference does
    not use.

    Args:
        model: the model.
        path: the checkpoint.
        skip_misfits: skip tensors that are missing or have another shape, for a checkpoint to start
            training from; otherwise they are an error.
        logger: the logger; None is the logger of OADP.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or a checkpoint of another model.
    """
    logger = logger or runtime.get_logger()
    state, own = _state_dict(_read(path), path), model.state_dict()
    found = _Comparison.of(state, own)
    _check(found, state, own, path, skip_misfits)
    model.load_state_dict({k: state[k] for k in found.fitting}, strict=False)
    lacking = found.lacking + (found.untrained if skip_misfits else [])
    for fault, keys in {
        'missing': [k for k in lacking if not k.endswith(_STEPS)],
        'unexpected': found.surplus,
        'with another shape': found.misfits,
    }.items():
        if keys:
            logger.warning('%s: %d keys %s: %s', path, len(keys), fault, _short_list(keys))
    if not skip_misfits:
        _report_parts(path, found.untrained, 'missing', logger)
    _report_parts(path, found.left_out, 'unexpected', logger)
    logger.info('%s: loaded %d of %d tensors of the model', path, len(found.fitting), len(own))


def _check(
    found: _Comparison,
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    path: str | os.PathLike,
    skip_misfits: bool,
) -> None:
    """Raise ``ValueError`` unless the state can be loaded."""
    if found.misfits and not skip_misfits:
        raise ValueError(f'{path}: not a checkpoint of this config; {_shapes(found, state, own)}')
    if not found.fitting:
        raise ValueError(
            f'{path}: the model has none of its keys; expected {_short_list(sorted(own))}, found '
            f'{_short_list(sorted(state))}'
        )
    refuse_non_finite(
        {k: state[k] for k in found.fitting},
        path,
        'the training diverged; use an earlier checkpoint',
        usual=own,
    )
    if found.lacking and not skip_misfits:
        raise ValueError(
            f'{path}: not a checkpoint of this config; {len(found.lacking)} keys missing: '
            f'{_short_list(found.lacking)}; {len(found.surplus)} keys unexpected: '
            f'{_short_list(found.surplus)}'
        )


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
    """Load the weights of a run to resume, and return the whole checkpoint.

    Args:
        model: the model; the checkpoint must have all of its tensors.
        path: a training checkpoint of this project or of the authors.
        logger: the logger; None is the logger of OADP.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or its keys differ from those of the model.
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
            f'{path}: not a checkpoint of a run of this config; {"; ".join(listed)}. Resume with the '
            'config of that run, or start from its weights with .trainer.load_from'
        )
    model.load_state_dict({k: state[k] for k in found.fitting})
    ignored = [k for k in state if k not in own]
    if ignored:
        logger.info('%s: ignored %d keys: %s', path, len(ignored), _short_list(ignored))
    return data


def _shapes(found: _Comparison, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return _short_list(
        [
            f'{k}: found {tuple(state[k].shape)}, expected {tuple(own[k].shape)}'
            for k in found.misfits
        ]
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
    """Return a trained detector, in evaluation mode.

    It computes in float32, as in the authors' code; on a GPU, in fp16 if ``validator.fp16`` is on.

    Args:
        config: a whole config, of this project or of mmdet, which has no ``validator``.
        checkpoint: see ``load_weights``.
        device: the device of the detector.
    """
    detector = build_detector(config)
    load_weights(detector, checkpoint)
    if computes_in_half(config, device):
        wrap_fp16_model(detector)
    return detector.to(device).eval()


def computes_in_half(config: Mapping[str, Any], device: torch.device) -> bool:
    """Return whether a detector of this config is evaluated in fp16 on this device."""
    fp16 = (config.get('validator') or {}).get('fp16')
    return device.type == 'cuda' and is_switched_on(fp16)


def is_switched_on(fp16: Any) -> bool:
    """Return whether ``fp16`` of a config is true or a dictionary, which may be empty as in mmdet."""
    return isinstance(fp16, Mapping) or bool(fp16)


def save_checkpoint(path: str | os.PathLike, data: Mapping[str, Any], *, link: bool = True) -> None:
    """Write a checkpoint atomically: under its name, it is complete or does not exist.

    Args:
        path: the file to write.
        data: ``meta``, ``state_dict`` and ``optimizer``, as in mmcv.
        link: make ``latest.pth`` in the same folder a link to it.
    """
    path = pathlib.Path(path)
    with atomic_write(path) as temporary:
        torch.save(data, temporary)
    if link:
        atomic_symlink(path.with_name('latest.pth'), path.name)
