"""Compute the blocks of an image: tiles of CLIP's input resolution, at several scales.

Only the size of an image is needed, so its number of blocks is known before it is decoded.
"""

__all__ = ['RESCALE', 'Level', 'levels', 'num_blocks', 'tile_offsets', 'whole_image_box']

import math
from collections.abc import Iterator
from typing import NamedTuple

RESCALE = 1.5
"""Factor between the sizes of successive levels (reference configuration)."""


class Level(NamedTuple):
    """One scale of the pyramid.

    Attributes:
        size_wh: width and height of the image at this level.
        scale: pixels of the original image per pixel of this level.
        offsets: upper left corners x, y of the tiles, in pixels of this level, ordered by x, then
            by y.
    """

    size_wh: tuple[int, int]
    scale: float
    offsets: list[tuple[int, int]]

    def boxes(self, tile: int) -> list[tuple[float, float, float, float]]:
        """Return the tiles as xyxy boxes in pixels of the original image."""
        s = self.scale
        return [(x * s, y * s, (x + tile) * s, (y + tile) * s) for x, y in self.offsets]


def tile_offsets(length: int, tile: int) -> list[int]:
    """Return the offsets of the tiles along an axis, from end to end, at most half a tile apart.

    Args:
        length: pixels along the axis.
        tile: side of a tile in pixels.

    Returns:
        Ascending offsets in pixels; empty if the axis is shorter than a tile.

    >>> tile_offsets(500, 224)
    [0, 92, 184, 276]
    """
    num = _num_tiles(length, tile)
    if num < 2:
        return [0] * num
    step, longer = divmod(length - tile, num - 1)
    return [i * step + min(i, longer) for i in range(num)]


def _num_tiles(length: int, tile: int) -> int:
    return 0 if length < tile else math.ceil((length - tile) / (tile // 2)) + 1


def levels(size_wh: tuple[int, int], tile: int) -> Iterator[Level]:
    """Yield the levels of an image, the original size first, while a tile fits.

    Args:
        size_wh: width and height of the image in pixels.
        tile: side of a tile in pixels, CLIP's input resolution.
    """
    scale = 1.0
    while True:
        width, height = size_wh
        ys = tile_offsets(height, tile)
        offsets = [(x, y) for x in tile_offsets(width, tile) for y in ys]
        if not offsets:
            return
        yield Level(size_wh, scale, offsets)
        size_wh = _next_size(size_wh)
        scale *= RESCALE


def _next_size(size_wh: tuple[int, int]) -> tuple[int, int]:
    width, height = size_wh
    return int(width / RESCALE), int(height / RESCALE)


def whole_image_box(size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the region that CLIP's transform keeps: the centered square of the shorter side.

    >>> whole_image_box((640, 480))
    (80.0, 0.0, 560.0, 480.0)
    """
    width, height = size_wh
    side = min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side


def num_blocks(size_wh: tuple[int, int], tile: int) -> int:
    """Return the number of blocks of an image, including the whole image.

    The tiles are counted without listing them: a wrong size could give millions.
    """
    num = 1
    while tiles := _num_tiles(size_wh[0], tile) * _num_tiles(size_wh[1], tile):
        num += tiles
        size_wh = _next_size(size_wh)
    return num
