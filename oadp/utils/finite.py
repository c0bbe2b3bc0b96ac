"""NaN and infinity, noticed where they enter or leave."""

__all__ = ['non_finite', 'refuse_non_finite']

import os
from collections.abc import Mapping

from torch import Tensor

_LISTED = 5


def non_finite(
    tensors: Mapping[str, Tensor], usual: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity.

    Args:
        tensors: by name; those of integers always pass.
        usual: what a model has under these names. A tensor that is infinite there too, such as a mask
            of attention, passes.
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
        tensors, usual: see :func:`non_finite`.
        path: where they are from.
        advice: what to do; ends the message.

    Raises:
        ValueError: there are such tensors.
    """
    names = non_finite(tensors, usual)
    if names:
        more = f', … ({len(names)} in all)' if len(names) > _LISTED else ''
        raise ValueError(f'{path}: NaN or infinity in {", ".join(names[:_LISTED])}{more}; {advice}')
