"""Paste the masks of boxes into the image, with NumPy.

The values are equal to mmdet's (``FCNMaskHead.get_seg_masks``): bilinear samples at the centers of the
image's pixels, zero outside the mask. Rows and columns are sampled separately, as two matrix products.
"""

__all__ = ['paste_masks']

import numpy as np


def paste_masks(
    masks: np.ndarray, xyxy: np.ndarray, size_hw: tuple[int, int], threshold: float
) -> np.ndarray:
    """Paste masks into an image.

    Args:
        masks: (k, m, m) float32 probabilities, each filling its box.
        xyxy: (k, 4) boxes in pixels of the image.
        size_hw: height and width of the image.
        threshold: minimum probability of a pixel of the object.

    Returns:
        (k, h, w) bool.
    """
    h, w = size_hw
    pasted = np.zeros((len(masks), h, w), dtype=bool)
    for i, (mask, (x1, y1, x2, y2)) in enumerate(zip(masks, xyxy, strict=True)):
        # No other pixel is affected.
        left, top = max(int(np.floor(x1)) - 1, 0), max(int(np.floor(y1)) - 1, 0)
        right, bottom = min(int(np.ceil(x2)) + 1, w), min(int(np.ceil(y2)) + 1, h)
        rows = _samples(np.arange(top, bottom), y1, y2, mask.shape[0])
        columns = _samples(np.arange(left, right), x1, x2, mask.shape[1])
        pasted[i, top:bottom, left:right] = rows @ mask @ columns.T >= threshold
    return pasted


def _samples(pixels: np.ndarray, low: np.float32, high: np.float32, cells: int) -> np.ndarray:
    """Return (pixels, cells) float32: the weight of each cell in the sample of a pixel."""
    with np.errstate(divide='ignore', invalid='ignore'):
        unit = (pixels.astype(np.float32) + np.float32(0.5) - low) / (high - low)
    unit[np.isinf(unit)] = 0.5  # an empty box, as in mmdet
    position = unit * cells - np.float32(0.5)
    distance = np.abs(position[:, None] - np.arange(cells, dtype=np.float32))
    return np.clip(1 - distance, 0, None).astype(np.float32)
