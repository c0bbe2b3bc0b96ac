"""From an image to the pixels that CLIP sees, on the CPU, with PIL: what defines the features."""

__all__ = ['clip_transform', 'to_tensor', 'transformed_size']

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

_BICUBIC = functional.InterpolationMode.BICUBIC


def to_tensor(image: Image.Image) -> Tensor:
    """(3, h, w) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def transformed_size(size_wh: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Width and height after CLIP's resize of the shorter side, before its centre crop.

    >>> transformed_size((640, 480), 224)
    (298, 224)
    """
    width, height = size_wh
    if width <= height:
        return resolution, int(resolution * height / width)
    return int(resolution * width / height), resolution


def clip_transform(image: Image.Image, resolution: int) -> Tensor:
    """CLIP's transform up to its normalisation: resize the shorter side, crop the centre.

    Returns:
        (3, resolution, resolution) uint8.
    """
    width, height = transformed_size(image.size, resolution)
    image = functional.resize(image, [height, width], _BICUBIC)
    return to_tensor(functional.center_crop(image, [resolution, resolution]))
