"""Crops of proposals, and their masks."""

import doctest
import math

import pytest
import torch
from torch.nn import functional

from oadp.oake import crops


def test_examples_in_docstrings():
    result = doctest.testmod(crops, extraglobs=dict(torch=torch))
    assert result.attempted >= 3 and result.failed == 0


@pytest.mark.parametrize(
    ('mode', 'box', 'expected', 'case'),
    [
        ('ADAPTIVE', [100, 100, 150, 200], [25, 50, 225, 250], 'side √(8·50·100) = 200'),
        ('ADAPTIVE', [0, 0, 50, 100], [0, 0, 200, 200], 'shifted into the image'),
        ('ADAPTIVE', [0, 200, 300, 350], [-150, -25, 450, 575], 'longer than both axes: stays centred'),
        ('LONGEST_EDGE', [100, 100, 150, 200], [75, 100, 175, 200], 'square of the longer side'),
        ('LONGEST_EDGE', [350, 10, 400, 40], [350, 0, 400, 50], 'square of the longer side'),
        ('CONSTANT', [100, 100, 150, 200], [13, 38, 237, 262], '224 around (125, 150)'),
        ('CONSTANT', [380, 290, 400, 300], [176, 76, 400, 300], 'shifted into the corner'),
        ('RECTANGLE', [100, 100, 150, 200], [100, 100, 150, 200], 'the box'),
        ('RECTANGLE', [390, 100, 410, 200], [380, 100, 400, 200], 'shifted into the image'),
    ],
)  # fmt: skip
def test_expand(mode, box, expected, case):
    box = torch.tensor([box], dtype=torch.float32)
    assert crops.expand(box, (400, 300), 224, mode).tolist() == [expected], case


@pytest.mark.parametrize(
    ('size_wh', 'expected'), [((224, 224), [0, 0, 224, 224]), ((224, 500), [0, None, 224, None])]
)
def test_a_constant_crop_of_the_image_size(size_wh, expected):
    """It is not longer than the image, so it is always shifted into the image."""
    corners = torch.rand(500, 2, 2, generator=torch.Generator().manual_seed(0)) * 220
    boxes = torch.cat([corners.min(1).values, corners.max(1).values + 4], dim=1)
    crop = crops.expand(boxes, size_wh, 224, 'CONSTANT')
    for column, value in zip(crop.T, expected, strict=True):
        assert value is None or (column == value).all()
    assert (crop[:, 2:] - crop[:, :2] == 224).all()


def test_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match='ADAPTIVE'):
        crops.expand(torch.zeros(1, 4), (9, 9), 224, 'adaptive')


def _mask_by_image(box, crop, grid):
    """Compute a mask by definition: draw it pixel by pixel, and resize it with torch."""
    num_x, num_y = (math.ceil(crop[i + 2] - crop[i]) for i in (0, 1))
    mask = torch.ones(num_y, num_x)
    for y in range(num_y):
        for x in range(num_x):
            inside_x = box[0] - crop[0] <= x <= box[2] - crop[0]
            inside_y = box[1] - crop[1] <= y <= box[3] - crop[1]
            mask[y, x] = float(not (inside_x and inside_y))
    return functional.interpolate(mask[None, None], (grid, grid), mode='nearest')[0, 0] > 0


@pytest.mark.parametrize('mode', crops.EXPAND_MODES)
@pytest.mark.parametrize('grid', [14, 9])
def test_masks_equal_those_of_a_resized_mask(mode, grid):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=generator) * 60
    side = torch.rand(12, 2, generator=generator) * 36 + 4
    boxes = torch.cat([corner, corner + side], dim=1).clamp(max=80)
    # Quarter pixels are exact in float32, so that the loop above and the tensors agree on edges.
    boxes = (boxes * 4).round() / 4
    cut = (crops.expand(boxes, (80, 80), 32, mode) * 4).round() / 4
    masks = crops.outside_masks(boxes, cut, grid)
    for box, crop, mask in zip(boxes.tolist(), cut.tolist(), masks, strict=True):
        assert torch.equal(mask, _mask_by_image(box, crop, grid))
    assert masks.any() or mode in ('RECTANGLE', 'LONGEST_EDGE')
