"""Crop and resize images on any device, with the results of PIL.

PIL resizes in two passes, first the columns and then the rows. Each pass is a weighted sum of the pixels
under an antialiased bicubic kernel, rounded to a byte. Here, each pass is a batch of matrix products.
"""

__all__ = ['crop_resize', 'upload']

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from oadp.oake.pixels import transformed_size

_CUBIC = -0.5  # parameter a of Keys' kernel, as in PIL
_SUPPORT = 2.0  # half the width of the kernel, in pixels of the smaller of the two images
_MAX_GROUP = 64  # crops resized together; they are padded to the largest one
_MAX_PIXELS = 1 << 24  # pixels in a group, 200 MB as float32


def crop_resize(image: Tensor, crops_xyxy: Tensor, resolution: int) -> Tensor:
    """Cut crops and apply CLIP's transform without its normalization.

    Args:
        image: (3, h, w) uint8, on any device.
        crops_xyxy: (n, 4) integers, on the CPU; pixels beyond the image are black.
        resolution: side of the result in pixels.

    Returns:
        (n, 3, resolution, resolution) uint8 on the device of the image; values differ from those of
        PIL by at most one rounding step.
    """
    result = image.new_empty(len(crops_xyxy), 3, resolution, resolution)
    if not len(crops_xyxy):
        return result
    wh = crops_xyxy[:, 2:] - crops_xyxy[:, :2]
    resized = torch.tensor([transformed_size((w, h), resolution) for w, h in wh.tolist()])
    groups = list(_groups(wh))
    # One copy for all groups, which does not wait for pending work of the device.
    numbers = torch.cat([crops_xyxy, wh, resized, torch.arange(len(wh))[:, None]], dim=1).long()
    on_device = upload(numbers[torch.cat(groups)], image.device)
    for group, part in zip(groups, on_device.split([len(g) for g in groups]), strict=True):
        crops, lengths, sizes, index = part.split([4, 2, 2, 1], dim=1)
        pixels = _cut(image, crops, *wh[group].amax(dim=0).tolist())
        taps = _num_taps((wh[group] / resized[group]).max().item())
        columns, rows = (
            _weights(lengths[:, axis], sizes[:, axis], resolution, pixels.shape[3 - axis], taps)
            for axis in (0, 1)
        )
        pixels = _round(pixels.flatten(1, 2) @ columns.transpose(1, 2)).unflatten(1, (3, -1))
        pixels = _round(rows[:, None] @ pixels)
        result[index[:, 0]] = pixels.to(torch.uint8)
    return result


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; a copy to a GPU does not wait for pending work."""
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _groups(wh: Tensor) -> Iterator[Tensor]:
    """Yield indices of crops of similar size, to limit the padding and the memory."""
    order = (wh[:, 0] * wh[:, 1]).argsort(descending=True)
    begin = 0
    while begin < len(order):
        width, height = wh[order[begin : begin + _MAX_GROUP]].amax(dim=0).tolist()
        num = max(1, min(_MAX_GROUP, _MAX_PIXELS // (width * height)))
        yield order[begin : begin + num]
        begin += num


def _cut(image: Tensor, crops: Tensor, num_columns: int, num_rows: int) -> Tensor:
    """Cut (m, 4) xyxy crops: (m, 3, num_rows, num_columns) float32, black beyond the image."""
    _, height, width = image.shape
    x = crops[:, :1] + torch.arange(num_columns, device=image.device)
    y = crops[:, 1:2] + torch.arange(num_rows, device=image.device)
    inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    pixels = image[:, y[:, :, None], x[:, None, :]].transpose(0, 1)
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return torch.where(inside, pixels, pixels.new_zeros(())).float()


def _num_taps(scale: float) -> int:
    """Return the maximum number of source pixels under the kernel if an axis shrinks by ``scale``."""
    return math.ceil(2 * _SUPPORT * max(scale, 1.0)) + 1


def _weights(lengths: Tensor, resized: Tensor, resolution: int, padded: int, taps: int) -> Tensor:
    """Return the weights of one pass.

    Only the few weights that are not 0 are computed.

    Args:
        lengths: (m,) lengths of the crops along the axis in pixels.
        resized: (m,) lengths after the resize, of which the central ``resolution`` pixels are kept.
        resolution: length of the result in pixels.
        padded: length of the longest crop in pixels.
        taps: upper bound of the number of source pixels under the kernel.

    Returns:
        (m, resolution, padded): the weight of each source pixel in each pixel of the result.
    """
    # Rounds halves to even, as torchvision's center crop.
    first = ((resized - resolution) / 2.0).double().round()
    scale = (lengths.double() / resized.double())[:, None]
    center = (torch.arange(resolution, device=lengths.device) + 0.5 + first[:, None]) * scale
    filter_scale = scale.clamp(min=1.0)
    reach = _SUPPORT * filter_scale
    begin = (center - reach + 0.5).trunc().clamp(min=0)
    end = torch.minimum((center + reach + 0.5).trunc(), lengths[:, None].double())
    source = begin[:, :, None] + torch.arange(taps, device=lengths.device)
    distance = (source - center[:, :, None] + 0.5) / filter_scale[:, :, None]
    weights = _bicubic(distance.abs())
    weights *= source < end[:, :, None]
    weights = (weights / weights.sum(dim=2, keepdim=True)).float()
    dense = weights.new_zeros(len(lengths), resolution, padded)
    # Taps beyond the end have weight 0, so they may share the last column.
    return dense.scatter_add_(2, source.long().clamp_(max=padded - 1), weights)


def _bicubic(x: Tensor) -> Tensor:
    """Evaluate Keys' kernel at distances ≥ 0 in pixels."""
    a = _CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _round(x: Tensor) -> Tensor:
    """Round to bytes, halves up."""
    return (x + 0.5).floor().clamp(0, 255)
