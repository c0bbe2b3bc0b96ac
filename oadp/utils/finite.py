"""Detect NaN and infinity in tensors that are read or written."""

__all__ = ['non_finite', 'refuse_non_finite']

import os
from collections.abc import Mapping

from torch import Tensor

_LISTED = 5


def non_finite(
    tensors: Mapping[str, Tensor], usual: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Return the names of the tensors that contain NaN or infinity.

    Args:
        tensors: tensors by name; integer tensors are always valid.
        usual: a model's initial tensors by the same names. A tensor that is not finite there, such as
            an attention mask, is valid.
    """
    names = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if usual is None:
        return names
    return [k for k in names if k not in usual or bool(usual[k].isfinite().all())]


def refuse_non_finite(
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike,
    advice: str,
    usual: Mapping[str, Tensor] | None = None,
) -> None:
    """Raise an error that names the tensors with NaN or infinity, and the file.

    Args:
        tensors: see :func:`non_finite`.
        path: the file that they were read from.
        advice: what to do; the end of the message.
        usual: see :func:`non_finite`.

    Raises:
        ValueError: a tensor contains NaN or infinity.
    """
    names = non_finite(tensors, usual)
    if names:
        more = f', … ({len(names)} in all)' if len(names) > _LISTED else ''
        raise ValueError(f'{path}: NaN or infinity in {", ".join(names[:_LISTED])}{more}; {advice}')
