"""Geometry of xyxy boxes on tensors, for extraction and detection.

Boxes are (n, 4) tensors x1, y1, x2, y2 in pixels, x to the right, y down, with continuous
coordinates: a box of x1 = 10 and x2 = 14 is 4 pixels wide. Sizes are (width, height).
"""

__all__ = [
    'MIN_BOX_SIDE',
    'any_overlap',
    'centers',
    'expand_to_square',
    'is_large_enough',
    'shift_into',
    'sizes',
]

import torch
from torch import Tensor

MIN_BOX_SIDE = 4
"""Minimum width and height of a proposal in pixels (as in the features that the authors released)."""


def sizes(xyxy: Tensor) -> Tensor:
    """Return the width and height of each box.

    Args:
        xyxy: (n, 4) boxes.

    Returns:
        (n, 2) width, height in pixels.

    >>> sizes(torch.tensor([[10., 20., 14., 25.]])).tolist()
    [[4.0, 5.0]]
    """
    return xyxy[..., 2:] - xyxy[..., :2]


def centers(xyxy: Tensor) -> Tensor:
    """Return the center of each box: (n, 4) boxes to (n, 2) points x, y.

    >>> centers(torch.tensor([[10., 20., 14., 25.]])).tolist()
    [[12.0, 22.5]]
    """
    return (xyxy[..., :2] + xyxy[..., 2:]) / 2


def is_large_enough(xyxy: Tensor, min_side: float = MIN_BOX_SIDE) -> Tensor:
    """Return which boxes are at least ``min_side`` pixels wide and high.

    Args:
        xyxy: (n, 4) boxes.
        min_side: pixels.

    Returns:
        (n,) bool.

    >>> is_large_enough(torch.tensor([[0., 0., 4., 4.], [0., 0., 3., 9.]])).tolist()
    [True, False]
    """
    return (sizes(xyxy) >= min_side).all(dim=-1)


def any_overlap(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return which pairs of boxes overlap; boxes that only share an edge do not.

    Args:
        a_xyxy: (n, 4) boxes.
        b_xyxy: (m, 4) boxes.

    Returns:
        (n, m) bool.

    >>> a = torch.tensor([[0., 0., 4., 4.]])
    >>> any_overlap(a, torch.tensor([[3., 3., 5., 5.], [4., 0., 5., 5.]])).tolist()
    [[True, False]]
    """
    upper_left = torch.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    lower_right = torch.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    return (lower_right > upper_left).all(dim=-1)


def expand_to_square(xyxy: Tensor, side: Tensor) -> Tensor:
    """Center a square on each box.

    Args:
        xyxy: (n, 4) boxes in pixels of the image.
        side: (n,) side lengths in pixels.

    Returns:
        (n, 4) squares; they may extend beyond the image.

    >>> expand_to_square(torch.tensor([[10., 20., 14., 25.]]), torch.tensor([8.])).tolist()
    [[8.0, 18.5, 16.0, 26.5]]
    """
    half = side[:, None] / 2
    middle = centers(xyxy)
    return torch.cat([middle - half, middle + half], dim=-1)


def shift_into(xyxy: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Shift boxes that extend beyond the image into it, separately along each axis.

    A box is not shifted along an axis on which it is longer than the image.

    Args:
        xyxy: (n, 4) boxes.
        size_wh: width and height of the image in pixels.

    Returns:
        (n, 4) boxes of the same sizes.

    >>> boxes = torch.tensor([[-3., 6., 5., 14.], [-1., 0., 11., 8.]])
    >>> shift_into(boxes, (10, 12)).tolist()
    [[0.0, 4.0, 8.0, 12.0], [-1.0, 0.0, 11.0, 8.0]]
    """
    limit = xyxy.new_tensor(size_wh)
    upper_left, lower_right = xyxy[:, :2], xyxy[:, 2:]
    shift = (-upper_left).clamp(min=0) - (lower_right - limit).clamp(min=0)
    shift = torch.where(lower_right - upper_left > limit, torch.zeros_like(shift), shift)
    return xyxy + torch.cat([shift, shift], dim=-1)
