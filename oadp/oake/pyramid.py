"""Where the blocks of an image are: tiles of CLIP's input resolution, at several scales.

Pure arithmetic, so that the number of blocks of an image is known without decoding it.
"""

__all__ = ['RESCALE', 'Level', 'levels', 'num_blocks', 'tile_offsets', 'whole_image_box']

import math
from collections.abc import Iterator
from typing import NamedTuple

RESCALE = 1.5
"""Each level is smaller than the one before by this factor (reference configuration)."""


class Level(NamedTuple):
    """One scale of the pyramid.

    Attributes:
        size_wh: width and height of the image at this level.
        scale: pixels of the original image in a pixel of this level.
        offsets: upper left corners x, y of the tiles, in pixels of this level, all y of the first x
            first.
    """

    size_wh: tuple[int, int]
    scale: float
    offsets: list[tuple[int, int]]

    def boxes(self, tile: int) -> list[tuple[float, float, float, float]]:
        """xyxy of the tiles in pixels of the original image."""
        s = self.scale
        return [(x * s, y * s, (x + tile) * s, (y + tile) * s) for x, y in self.offsets]


def tile_offsets(length: int, tile: int) -> list[int]:
    """Where the tiles along an axis begin: from end to end, at most half a tile apart.

    Args:
        length: pixels along the axis.
        tile: side of a tile in pixels.

    Returns:
        Ascending; empty where a tile does not fit.

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
    """The scales of an image, the original one first, until a tile no longer fits.

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
    """xyxy of what CLIP's transform shows of an image: the centred square of the shorter side.

    >>> whole_image_box((640, 480))
    (80.0, 0.0, 560.0, 480.0)
    """
    width, height = size_wh
    side = min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side


def num_blocks(size_wh: tuple[int, int], tile: int) -> int:
    """Return the number of blocks of an image, the whole one included.

    The tiles themselves are not listed: a size may be wrong, and they would be millions.
    """
    num = 1
    while tiles := _num_tiles(size_wh[0], tile) * _num_tiles(size_wh[1], tile):
        num += tiles
        size_wh = _next_size(size_wh)
    return num
