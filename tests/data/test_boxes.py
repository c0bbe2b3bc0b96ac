"""Tables of boxes with known results."""

import doctest

import pytest
import torch

from oadp.data import boxes


def test_examples_in_docstrings():
    result = doctest.testmod(boxes, extraglobs=dict(torch=torch))
    assert result.attempted >= 6 and result.failed == 0


@pytest.mark.parametrize(
    ('box', 'expected', 'case'),
    [
        ([2, 3, 6, 9], [2, 3, 6, 9], 'inside: unchanged'),
        ([-5, 3, 3, 9], [0, 3, 8, 9], 'overhangs left'),
        ([90, 3, 104, 9], [86, 3, 100, 9], 'overhangs right'),
        ([90, -2, 104, 4], [86, 0, 100, 6], 'both axes at once'),
        ([-5, -5, 101, 4], [-5, 0, 101, 9], 'wider than the image: x stays, y is shifted'),
        ([0, 0, 100, 50], [0, 0, 100, 50], 'exactly the image'),
    ],
)
def test_shift_into(box, expected, case):
    result = boxes.shift_into(torch.tensor([box], dtype=torch.float32), (100, 50))
    assert result.tolist() == [expected], case


def test_shift_into_without_boxes():
    assert boxes.shift_into(torch.zeros(0, 4), (100, 50)).shape == (0, 4)


def test_any_overlap_against_pixels():
    """Boxes with integer corners overlap if they share a pixel."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 12, (40, 2), generator=generator)
    xyxy = torch.cat([corner, corner + torch.randint(1, 6, (40, 2), generator=generator)], dim=1)
    grid = torch.zeros(40, 20, 20)
    for k, (x1, y1, x2, y2) in enumerate(xyxy.tolist()):
        grid[k, y1:y2, x1:x2] = 1
    shared = torch.einsum('iyx,jyx->ij', grid, grid)
    assert torch.equal(boxes.any_overlap(xyxy.float(), xyxy.float()), shared > 0)


def test_boxes_of_four_pixels_are_large_enough():
    xyxy = torch.tensor([[0, 0, 4, 4], [0, 0, 3.99, 50], [0, 0, 50, 3.99], [1, 1, 9, 9]])
    assert boxes.is_large_enough(xyxy).tolist() == [True, False, False, True]
