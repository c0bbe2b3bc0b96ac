"""Gradient of RoIAlign by matrix products, for feature maps of few pixels on a CPU.

torchvision adds the gradient of each sample to four pixels, one at a time. A bin's samples form a
grid, so that its weights are the product of one row and one column weight, and the gradient of a
box is a product of three small matrices. On one core this takes 15 ms where torchvision takes 66 for
the boxes of a training step of the embedded benchmark (256 boxes, 64 channels, 28 × 32 pixels).
"""

__all__ = ['MAX_PIXELS', 'roi_align_gradient']

import torch
from torch import Tensor

MAX_PIXELS = 4096
"""Greatest number of pixels of a feature map for which the products are used. They took a fourth of
torchvision's time at 64 × 56 pixels, half at 128 × 100, and more than twice at 272 × 200."""


def roi_align_gradient(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    shape: tuple[int, ...],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Compute the gradient of RoIAlign with average pooling with respect to the feature map.

    Args:
        grad_output: (n, c, rows, columns), gradient of the pooled features.
        rois: (n, 5): index into the batch, then xyxy in pixels of the image.
        spatial_scale: pixels of the feature map per pixel of the image.
        shape: b, c, h and w of the feature map.
        sampling_ratio: samples per bin and direction; 0 for as many as the bin has pixels.
        aligned: whether the center of the first pixel is at 0.5.

    Returns:
        (b, c, h, w).
    """
    batch, channels, height, width = shape
    gradient = grad_output.new_empty(batch, height, channels, width)
    low, high = (rois[:, 1:] * spatial_scale - 0.5 * aligned).split(2, dim=1)
    size = high - low if aligned else (high - low).clamp(min=1)
    bins = grad_output.shape[2:]
    for i in range(batch):
        chosen = rois[:, 0] == i
        start, extent = low[chosen], size[chosen]
        columns = _weights(start[:, 0], extent[:, 0], bins[1], width, sampling_ratio)
        rows = _weights(start[:, 1], extent[:, 1], bins[0], height, sampling_ratio)
        # From bins to the map's columns, box by box; then from bins to its rows, for all boxes.
        spread = grad_output[chosen].transpose(1, 2).flatten(1, 2) @ columns
        spread = spread.view(-1, channels * width)
        gradient[i] = (rows.flatten(0, 1).T @ spread).view_as(gradient[i])
    return gradient.transpose(1, 2)


def _weights(start: Tensor, size: Tensor, bins: int, length: int, sampling_ratio: int) -> Tensor:
    """Return (n, bins, length): the weight of each pixel of an axis in the mean of each bin.

    Args:
        start: (n,), position of the first bin, in pixels of the feature map.
        size: (n,), extent of all bins.
        bins: number of bins.
        length: number of pixels.
        sampling_ratio: samples per bin; 0 for as many as the bin has pixels.
    """
    step = size / bins
    counts = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    counts = counts[:, None, None]
    most = int(counts.max()) if len(counts) else 0
    samples = torch.arange(most, device=start.device)
    counts_or_one = counts.clamp(min=1)  # an empty box has no samples
    offsets = torch.arange(bins, device=start.device)[:, None] + (samples + 0.5) / counts_or_one
    positions = start[:, None, None] + step[:, None, None] * offsets
    # Samples at a distance of more than a pixel count as zeros.
    valid = (samples < counts) & (positions >= -1) & (positions <= length)
    positions = positions.clamp(0, length - 1)[..., None]
    pixels = torch.arange(length, device=start.device)
    weights = (1 - (positions - pixels).abs()).clamp(min=0) * valid[..., None]
    return weights.sum(dim=2) / counts_or_one
