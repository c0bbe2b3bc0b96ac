"""Transform images to the input of CLIP with PIL on the CPU; this is the reference for the features."""

__all__ = ['clip_transform', 'to_tensor', 'transformed_size']

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

_BICUBIC = functional.InterpolationMode.BICUBIC

_MAX_STRETCH = 16
"""Aspect ratio above which only the center of an image is resized: a whole image of 1 × 5000 pixels would
become 224 × 1,120,000."""


def to_tensor(image: Image.Image) -> Tensor:
    """Convert an RGB image to a (3, h, w) uint8 tensor."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def transformed_size(size_wh: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Return width and height after CLIP's resize of the shorter side, before its center crop.

    >>> transformed_size((640, 480), 224)
    (298, 224)
    """
    width, height = size_wh
    if width <= height:
        return resolution, int(resolution * height / width)
    return int(resolution * width / height), resolution


def clip_transform(image: Image.Image, resolution: int) -> Tensor:
    """Apply CLIP's transform without its normalization: resize the shorter side, crop the center.

    Returns:
        (3, resolution, resolution) uint8.
    """
    width, height = transformed_size(image.size, resolution)
    if max(width, height) > _MAX_STRETCH * resolution:
        return to_tensor(_resize_center(image, (width, height), resolution))
    image = functional.resize(image, [height, width], _BICUBIC)
    return to_tensor(functional.center_crop(image, [resolution, resolution]))


def _resize_center(image: Image.Image, size_wh: tuple[int, int], resolution: int) -> Image.Image:
    """Resize to ``size_wh`` and crop the center; only the pixels of the crop are computed."""
    scales = [old / new for old, new in zip(image.size, size_wh, strict=True)]
    corner = [round((new - resolution) / 2) for new in size_wh]
    begin = [c * scale for c, scale in zip(corner, scales, strict=True)]
    end = [
        min((c + resolution) * scale, length)
        for c, scale, length in zip(corner, scales, image.size, strict=True)
    ]
    box = (begin[0], begin[1], end[0], end[1])
    return image.resize((resolution, resolution), Image.Resampling.BICUBIC, box)
