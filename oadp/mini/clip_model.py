"""The network of the benchmark's CLIP: its weights at the start, and its image embeddings."""

__all__ = ['build_clip', 'encode_images', 'to_pixels']

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oadp.clip.normalization import MEAN, STD
from oadp.clip.positions import resize_positions
from oadp.clip.weights import import_clip
from oadp.mini.captions import Crop
from oadp.mini.settings import TeacherSettings

INITIAL_TOKEN_STD = 0.3
"""Of the token embedding. With CLIP's 0.02, tokens remain too similar for too many steps."""


def build_clip(settings: TeacherSettings) -> Any:
    """Build a ``clip.model.CLIP`` with random weights.

    Args:
        settings: sizes of the model.
    """
    model: Any = import_clip().model.CLIP(
        embed_dim=settings.embedding,
        image_resolution=settings.resolution,
        vision_layers=settings.layers,
        vision_width=settings.width,
        vision_patch_size=settings.patch,
        context_length=settings.context_length,
        vocab_size=49408,  # of CLIP's tokeniser
        transformer_width=settings.text_width,
        transformer_heads=settings.text_width // 64,
        transformer_layers=settings.text_layers,
    )
    nn.init.normal_(model.token_embedding.weight, std=INITIAL_TOKEN_STD)
    model.visual.positional_embedding.data[1:] = _sinusoids(
        settings.resolution // settings.patch, settings.width
    )
    # Captions use few of the tokens: compute gradients and updates of these only.
    model.token_embedding.sparse = True
    return model


def _sinusoids(side: int, width: int) -> Tensor:
    """Return (side², width) positional embeddings, smooth over the grid: OAKE interpolates them."""
    frequencies = torch.logspace(0, 1, width // 4) * math.pi / (2 * side)
    angles = torch.arange(side)[:, None] * frequencies
    axis = 0.7 * torch.cat([angles.sin(), angles.cos()], dim=1)  # root mean square of about 0.5
    rows, columns = axis.repeat_interleave(side, 0), axis.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)


def to_pixels(crops: Sequence[Crop]) -> Tensor:
    """Stack n crops into (n, 3, resolution, resolution), normalised as CLIP's inputs."""
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    return (pixels.float() - mean) / std


def encode_images(model: Any, pixels: Tensor) -> Tensor:
    """Embed images of any size, as ``oadp.oake.globals`` does: positions are resized to their grid.

    Args:
        model: a CLIP.
        pixels: (b, 3, h, w), normalised.

    Returns:
        (b, embedding).
    """
    visual = model.visual
    rows, columns = (side // visual.conv1.kernel_size[0] for side in pixels.shape[2:])
    positions = resize_positions(visual.positional_embedding, rows, columns)
    return torch.func.functional_call(visual, {'positional_embedding': positions}, (pixels,))
