"""Crop and resize with matrix products equals PIL."""

import numpy as np
import pytest
import torch
from oake_dataset import make_image
from PIL import Image

from oadp.oake.pixels import clip_transform, to_tensor
from oadp.oake.resample import crop_resize

MAX_DIFFERENCE, MAX_MEAN_DIFFERENCE = 2, 0.5  # of 255


def compare(image: Image.Image, boxes: torch.Tensor, resolution: int, device: str = 'cpu') -> None:
    result = crop_resize(to_tensor(image).to(device), boxes, resolution).cpu()
    expected = torch.stack(
        [clip_transform(image.crop(tuple(box)), resolution) for box in boxes.tolist()]
    )
    difference = (result.int() - expected.int()).abs()
    assert result.dtype == torch.uint8 and result.shape == expected.shape
    assert difference.max() <= MAX_DIFFERENCE
    assert difference.float().mean() < MAX_MEAN_DIFFERENCE / 100


@pytest.mark.parametrize(
    ('box', 'case'),
    [
        ([10, 10, 34, 34], 'smaller than the result'),
        ([10, 10, 12, 12], 'two pixels'),
        ([10, 10, 11, 11], 'one pixel'),
        ([20, 30, 44, 54], 'exactly the resolution, nothing to resize'),
        ([-30, -20, 40, 50], 'overhangs the corner'),
        ([100, 60, 190, 150], 'overhangs the other corner'),
        ([-200, -200, 300, 300], 'huge, all around'),
        ([200, 10, 230, 40], 'outside of the image: black'),
        ([10, 10, 61, 60], 'one pixel wider than high'),
        ([0, 0, 120, 40], 'wide: the middle is kept'),
        ([0, 0, 33, 90], 'high'),
        ([0, 0, 26, 27], 'an odd rest to crop'),
    ],
)
def test_cases(box, case):
    image = make_image((150, 100), np.random.default_rng(0))
    compare(image, torch.tensor([box], dtype=torch.int32), 24)


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
@pytest.mark.parametrize('resolution', [24, 224])
def test_random_boxes(resolution, device):
    """Groups of crops of different sizes; benchmarks/resample.py tests thousands."""
    rng = np.random.default_rng(resolution)
    num = 100 if resolution < 100 else 16
    image = make_image((230, 170), rng)
    side = np.exp(rng.uniform(np.log(3), np.log(400), (num, 1))) * rng.uniform(0.5, 1.5, (num, 2))
    corner = rng.uniform(-60, 200, (num, 2))
    boxes = np.concatenate([corner, corner + np.maximum(side, 1.5)], axis=1)
    compare(image, torch.from_numpy(boxes).round().int(), resolution, device)


def test_without_boxes():
    image = make_image((15, 10), np.random.default_rng(0))
    assert crop_resize(to_tensor(image), torch.zeros(0, 4, dtype=torch.int32), 24).shape == (
        0, 3, 24, 24,
    )  # fmt: skip


@pytest.mark.parametrize('size', [(40, 700), (700, 40), (33, 1201), (640, 641)])
def test_only_the_center_of_a_narrow_image_is_resized(size, monkeypatch):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    whole = clip_transform(image, 40)
    monkeypatch.setattr('oadp.oake.pixels._MAX_STRETCH', 0)
    difference = clip_transform(image, 40).int() - whole.int()
    assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.01


def test_a_narrow_image_needs_little_memory(monkeypatch):
    def refuse(*args):
        raise AssertionError('224 × 1,120,000 pixels')

    monkeypatch.setattr('oadp.oake.pixels.functional.resize', refuse)
    assert clip_transform(Image.new('RGB', (1, 5000), 'red'), 224).shape == (3, 224, 224)
