"""Crop and resize on any device, with PIL's numbers.

PIL resizes in two passes, columns and then rows, each a weighted sum of the pixels under an
antialiased bicubic kernel, rounded to a byte in between. Here each pass is a batch of matrix
products.
"""

__all__ = ['crop_resize']

from collections.abc import Iterator

import torch
from torch import Tensor

from .pixels import transformed_size

_CUBIC = -0.5  # Keys' a, as in PIL
_SUPPORT = 2.0  # half of the kernel's width, in pixels of the smaller of the two images
_MAX_GROUP = 64  # crops resized together; they are padded to the largest of them
_MAX_PIXELS = 1 << 24  # pixels of a group, 200 MB as float32


def crop_resize(image: Tensor, crops_xyxy: Tensor, resolution: int) -> Tensor:
    """Cut crops and apply CLIP's transform up to its normalisation.

    Args:
        image: (3, h, w) uint8, on any device.
        crops_xyxy: (n, 4) integers, on the CPU; what overhangs the image is black.
        resolution: side of the result in pixels.

    Returns:
        (n, 3, resolution, resolution) uint8 on the image's device, within a rounding of what PIL
        gives.
    """
    result = image.new_empty(len(crops_xyxy), 3, resolution, resolution)
    wh = crops_xyxy[:, 2:] - crops_xyxy[:, :2]
    for group in _groups(wh):
        pixels = _cut(image, crops_xyxy[group], wh[group])
        sizes = [transformed_size((w, h), resolution) for w, h in wh[group].tolist()]
        lengths, resized = wh[group].to(image.device), torch.tensor(sizes).to(image.device)
        columns, rows = (
            _weights(lengths[:, axis], resized[:, axis], resolution, pixels.shape[3 - axis])
            for axis in (0, 1)
        )
        pixels = _round(pixels.flatten(1, 2) @ columns).unflatten(1, (3, -1))
        pixels = _round(rows.transpose(1, 2)[:, None] @ pixels)
        result[group.to(image.device)] = pixels.to(torch.uint8)
    return result


def _groups(wh: Tensor) -> Iterator[Tensor]:
    """Indices of crops of like size, so that little is computed on padding; memory is bounded."""
    order = (wh[:, 0] * wh[:, 1]).argsort(descending=True)
    begin = 0
    while begin < len(order):
        width, height = wh[order[begin : begin + _MAX_GROUP]].amax(dim=0).tolist()
        num = max(1, min(_MAX_GROUP, _MAX_PIXELS // (width * height)))
        yield order[begin : begin + num]
        begin += num


def _cut(image: Tensor, crops_xyxy: Tensor, wh: Tensor) -> Tensor:
    """(m, 3, H, W) float32, H and W of the largest crop; black where a crop has no pixel."""
    _, height, width = image.shape
    num_columns, num_rows = wh.amax(dim=0).tolist()
    crops = crops_xyxy.to(image.device)
    x = crops[:, :1] + torch.arange(num_columns, device=image.device)
    y = crops[:, 1:2] + torch.arange(num_rows, device=image.device)
    inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    pixels = image[:, y[:, :, None], x[:, None, :]].transpose(0, 1)
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return torch.where(inside, pixels, pixels.new_zeros(())).float()


def _weights(lengths: Tensor, resized: Tensor, resolution: int, padded: int) -> Tensor:
    """Weights of one pass: (m, padded, resolution), source pixel to pixel of the result.

    Args:
        lengths: (m,) pixels along the axis.
        resized: (m,) pixels after the resize, of which the central ``resolution`` are kept.
        resolution: pixels of the result.
        padded: pixels along the axis of the longest.
    """
    # Halves to even, as torchvision's centre crop.
    first = ((resized - resolution) / 2.0).double().round()
    scale = (lengths.double() / resized.double())[:, None]
    center = (torch.arange(resolution, device=lengths.device) + 0.5 + first[:, None]) * scale
    filter_scale = scale.clamp(min=1.0)
    reach = _SUPPORT * filter_scale
    begin = (center - reach + 0.5).trunc().clamp(min=0)
    end = torch.minimum((center + reach + 0.5).trunc(), lengths[:, None].double())
    source = torch.arange(padded, dtype=torch.float64, device=lengths.device)[:, None]
    distance = (source - center[:, None] + 0.5) / filter_scale[:, None]
    weights = _bicubic(distance.abs())
    weights *= (source >= begin[:, None]) & (source < end[:, None])
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _bicubic(x: Tensor) -> Tensor:
    """Keys' kernel of a distance ≥ 0 in pixels."""
    a = _CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _round(x: Tensor) -> Tensor:
    """To whole bytes, halves up."""
    return (x + 0.5).floor().clamp(0, 255)
