"""Positions of blocks."""

import math
import tracemalloc

import pytest

from oadp.oake import pyramid


@pytest.mark.parametrize(
    ('length', 'expected', 'case'),
    [
        (223, [], 'a tile does not fit'),
        (224, [0], 'exactly one'),
        (225, [0, 1], 'one pixel more: two'),
        (336, [0, 112], 'half a tile more: two'),
        (337, [0, 57, 113], 'the first step is the longer one'),
        (500, [0, 92, 184, 276], 'equal steps'),
        (640, [0, 104, 208, 312, 416], 'equal steps'),
        (480, [0, 86, 171, 256], 'one longer step'),
    ],
)
def test_tile_offsets(length, expected, case):
    assert pyramid.tile_offsets(length, 224) == expected, case


@pytest.mark.parametrize('tile', [224, 48, 33])
def test_tiles_cover_the_axis_and_overlap_by_half(tile):
    for length in range(tile, 5 * tile, 7):
        offsets = pyramid.tile_offsets(length, tile)
        steps = [b - a for a, b in zip(offsets, offsets[1:])]  # noqa: B905
        assert offsets[0] == 0 and offsets[-1] == length - tile
        assert all(1 <= s <= tile // 2 for s in steps) and steps == sorted(steps, reverse=True)
        assert not steps or max(steps) - min(steps) <= 1
        # as few as half a tile allows
        assert len(steps) == math.ceil((length - tile) / (tile // 2))


def test_levels():
    levels = list(pyramid.levels((640, 480), 224))
    assert [level.size_wh for level in levels] == [(640, 480), (426, 320)]
    assert [level.scale for level in levels] == [1, 1.5]
    assert [len(level.offsets) for level in levels] == [5 * 4, 3 * 2]
    assert levels[1].offsets[:3] == [(0, 0), (0, 96), (101, 0)]  # all y of the first x first
    assert levels[1].boxes(224)[1] == (0, 144, 336, 480)
    assert pyramid.num_blocks((640, 480), 224) == 27


def test_levels_are_computed_from_rounded_sizes():
    # 1000 → 666 → 444 → 296; from the first at once, 1000 / 1.5² would also be 444, but 1001 not.
    sizes = [level.size_wh for level in pyramid.levels((1001, 1001), 224)]
    assert sizes == [(1001, 1001), (667, 667), (444, 444), (296, 296)]


def test_an_image_too_small_for_a_tile_has_one_block():
    assert pyramid.num_blocks((223, 900), 224) == 1


@pytest.mark.parametrize(
    ('size', 'box'),
    [((333, 500), (0, 83.5, 333, 416.5)), ((50, 20), (15, 0, 35, 20)), ((9, 9), (0, 0, 9, 9))],
)
def test_whole_image_box_is_xyxy(size, box):
    """The reference implementation stores (offset, 0, side, side) and reads it as xyxy."""
    assert pyramid.whole_image_box(size) == box


@pytest.mark.parametrize('size', [(640, 480), (223, 900), (224, 224), (5000, 300)])
def test_num_blocks_equals_the_number_of_tiles(size):
    tiles = [len(level.offsets) for level in pyramid.levels(size, 224)]
    assert pyramid.num_blocks(size, 224) == 1 + sum(tiles)


def test_num_blocks_of_a_huge_size_needs_little_memory():
    tracemalloc.start()
    assert pyramid.num_blocks((300_000, 300_000), 224) > 10_000_000
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
