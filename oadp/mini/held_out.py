"""Measure the accuracy of the benchmark's CLIP on held-out objects, blocks and images."""

__all__ = ['accuracy', 'cut_held_out', 'log_accuracy']

from typing import Any

import numpy as np
import torch

from oadp.clip.weights import encode_texts
from oadp.mini.captions import Crop, cut_crops, cut_windows, sample_crops
from oadp.mini.classes import BASES, NOVELS
from oadp.mini.clip_model import encode_images, to_pixels
from oadp.mini.dataset import Split, draw_split
from oadp.mini.scene import SIZES
from oadp.prompts.templates import VILD
from oadp.utils.runtime import get_logger

HELD_OUT = 100  # images
HELD_OUT_WINDOWS = (48, 72, 108)  # pixels; sides of OAKE's blocks at a resolution of 48


@torch.no_grad()
def accuracy(model: Any, crops: list[Crop]) -> tuple[float, float]:
    """Classify crops among all class names.

    Args:
        model: a CLIP in evaluation mode.
        crops: each shows at least one object. Any visible class is a correct answer.

    Returns:
        Accuracy in percent, of the crops whose first name is a base class and of the others.
    """
    names = BASES + NOVELS
    texts = [template.format(name) for name in names for template in VILD[::8]]
    weight = encode_texts(model, texts).view(len(names), -1, model.text_projection.shape[1])
    images = torch.cat(
        [encode_images(model, to_pixels(crops[i : i + 256])) for i in range(0, len(crops), 256)]
    )
    predicted = (images @ weight.mean(dim=1).t()).argmax(dim=1)
    correct = np.array([names[i] in crop.names for i, crop in zip(predicted, crops, strict=True)])
    novel = np.array([crop.names[0] in NOVELS for crop in crops])
    return float(correct[~novel].mean() * 100), float(correct[novel].mean() * 100)


def cut_held_out(resolution: int, seed: int) -> dict[str, list[Crop]]:
    """Cut objects, blocks and whole images that are not used in training."""
    scenes = list(draw_split(Split.teacher_held_out, HELD_OUT, seed))
    rng = np.random.default_rng([seed, Split.teacher_held_out])
    side = min(SIZES[0])
    return dict(
        objects=cut_crops(scenes, resolution, rng, context=(1.0, 1.0)),
        blocks=cut_windows(scenes, resolution, HELD_OUT_WINDOWS),
        images=sample_crops(scenes, len(scenes), side, rng, smallest=side),
    )


def log_accuracy(model: Any, step: int, loss: float, held_out: dict[str, list[Crop]]) -> None:
    """Log the accuracy on each kind of held-out crops after a training step."""
    figures = ', '.join(
        '{} {:.1f} / {:.1f} %'.format(name, *accuracy(model, crops))
        for name, crops in held_out.items()
    )
    get_logger().info(
        'teacher, step %d: loss %.3f; held-out crops, accuracy of base / novel classes: %s '
        '(chance %.1f %%)',
        step,
        loss,
        figures,
        100 / len(BASES + NOVELS),
    )
