"""Compute the crop of each proposal, and the patches of the crop that are outside the proposal."""

__all__ = ['EXPAND_MODES', 'ExpandMode', 'expand', 'outside_masks']

from typing import Literal, get_args

import torch
from torch import Tensor

from oadp.data.boxes import expand_to_square, shift_into, sizes

ExpandMode = Literal['ADAPTIVE', 'LONGEST_EDGE', 'CONSTANT', 'RECTANGLE']
EXPAND_MODES: tuple[ExpandMode, ...] = get_args(ExpandMode)

ADAPTIVE_AREA = 8
"""Area of an adaptive crop, as a multiple of the area of its box (reference configuration)."""


def expand(xyxy: Tensor, size_wh: tuple[int, int], resolution: int, mode: ExpandMode) -> Tensor:
    """Compute the crop of each proposal.

    Along each axis, a crop that extends beyond the image is shifted into the image; a crop that is
    longer than the image stays centered on its box.

    Args:
        xyxy: (n, 4) proposals in pixels of the image.
        size_wh: width and height of the image.
        resolution: CLIP's input resolution in pixels, which is the side of ``CONSTANT`` crops.
        mode: ``ADAPTIVE``: a square of eight times the area; ``LONGEST_EDGE``: a square of the
            longer side; ``CONSTANT``: a square of ``resolution``; ``RECTANGLE``: the box itself.

    Returns:
        (n, 4) float32 or float64 xyxy.

    Raises:
        ValueError: unknown mode.

    >>> box = torch.tensor([[100., 100., 150., 200.]])
    >>> expand(box, (640, 480), 224, 'ADAPTIVE').tolist()
    [[25.0, 50.0, 225.0, 250.0]]
    """
    if mode in ('LONGEST_EDGE', 'CONSTANT'):
        # In float32 the edges are rounded: a crop as long as the image could become longer than it.
        xyxy = xyxy.double()
    width, height = sizes(xyxy).unbind(dim=-1)
    if mode == 'ADAPTIVE':
        side = (width * height * ADAPTIVE_AREA).sqrt()
    elif mode == 'LONGEST_EDGE':
        side = torch.maximum(width, height)
    elif mode == 'CONSTANT':
        side = torch.full_like(width, resolution)
    elif mode == 'RECTANGLE':
        return shift_into(xyxy, size_wh)
    else:
        raise ValueError(f'unknown expand_mode {mode!r}; choose from {EXPAND_MODES}')
    return shift_into(expand_to_square(xyxy, side), size_wh)


def outside_masks(xyxy: Tensor, crops_xyxy: Tensor, grid: int) -> Tensor:
    """Find the patches of each crop that are outside its proposal.

    A crop is sampled at whole pixels, starting at its corner; each patch takes the sample that
    nearest-neighbor resizing to the grid assigns to it.

    Args:
        xyxy: (n, 4) proposals.
        crops_xyxy: (n, 4) their crops.
        grid: number of patches along a side.

    Returns:
        (n, grid, grid) bool, row by row; True outside.

    >>> outside_masks(torch.tensor([[2., 0., 4., 8.]]), torch.tensor([[0., 0., 8., 8.]]), 4).int().tolist()
    [[[1, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1]]]
    """
    corner = crops_xyxy[:, :2]
    upper_left, lower_right = xyxy[:, :2] - corner, xyxy[:, 2:] - corner
    # float32 as in torch's nearest-neighbor resize: the features depend on its rounding.
    num_samples = sizes(crops_xyxy).ceil().float()
    cells = torch.arange(grid, dtype=torch.float32, device=xyxy.device)
    samples = (cells * (num_samples / grid)[..., None]).floor()
    samples = torch.minimum(samples, num_samples[..., None] - 1)
    inside = (upper_left[..., None] <= samples) & (samples <= lower_right[..., None])
    inside_x, inside_y = inside[:, 0], inside[:, 1]
    return ~(inside_y[:, :, None] & inside_x[:, None, :])
