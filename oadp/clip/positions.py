"""Resize the positional embedding of a vision transformer to another grid of patches."""

__all__ = ['resize_positions']

import torch
from torch import Tensor
from torch.nn import functional


def resize_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Resize the grid of a positional embedding; that of the class token is kept.

    Args:
        positions: (1 + side², c), the class token's first.
        rows: of the new grid.
        columns: of the new grid.

    Returns:
        (1 + rows * columns, c), bilinearly interpolated; ``positions`` itself if it has this grid.
    """
    side = round((len(positions) - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[1:].float().T.reshape(1, -1, side, side)
    grid = functional.interpolate(grid, (rows, columns), mode='bilinear', align_corners=False)
    resized = grid.flatten(2)[0].T.to(positions.dtype)
    return torch.cat([positions[:1], resized])
