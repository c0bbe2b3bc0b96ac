"""Train the benchmark's CLIP: a small one, in minutes, on captioned crops of all classes.

The model is of the ``clip`` package's own class, and its file has the layout of OpenAI's archives,
so that all other commands read it as a CLIP. Its training images (``captions``) are never those of
the detector.
"""

__all__ = ['build_clip', 'main', 'train']

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oadp.clip.weights import encode_texts, import_clip, save_clip_archive, tokenize
from oadp.mini.captions import (
    NEAREST,
    Caption,
    Crop,
    cut_crops,
    cut_windows,
    sample_crops,
    write_caption,
)
from oadp.mini.dataset import Split, draw_split
from oadp.mini.optimizer import TeacherOptimizer
from oadp.mini.scene import Scene
from oadp.mini.settings import TeacherSettings
from oadp.mini.shapes import BASES, NOVELS
from oadp.prompts.templates import VILD
from oadp.utils.command import ArgumentParser, run
from oadp.utils.output_names import check_file
from oadp.utils.progress import Progress
from oadp.utils.runtime import get_logger

OUT = pathlib.Path('pretrained/mini/clip.pt')

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of CLIP's input normalisation, RGB in [0, 1]."""

HELD_OUT = 60  # images
HELD_OUT_CONTEXTS = (1.3, 2.83)
"""Sides of the held-out crops, relative to the longer side of the box: an object that fills the
crop, and the context of OAKE's crops, √8 for a square box."""
HELD_OUT_WINDOWS = (48, 72, 108)  # pixels; sides of OAKE's blocks at a resolution of 48
SINGLE_OBJECT_CONTEXT = (NEAREST, 1.6)
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


def contrastive_loss(
    model: Any, crops: Sequence[Crop], captions: Sequence[Caption], max_scale: float
) -> Tensor:
    """Compute CLIP's symmetric loss, with every true caption of a crop as a positive.

    A caption from the web hardly ever describes another image of the batch. With few classes that
    happens often, and such pairs as negatives would be label noise.

    Args:
        model: a CLIP.
        crops: n crops.
        captions: their n captions.
        max_scale: upper bound of the factor of the cosine similarities.

    Returns:
        A scalar.
    """
    images = F.normalize(model.encode_image(to_pixels(crops)), dim=1)
    tokens = tokenize([c.text for c in captions], model.context_length)
    length = int(tokens.argmax(dim=1).max()) + 1
    texts = F.normalize(model.encode_text(tokens[:, :length]), dim=1)
    is_true = torch.tensor([[t.names.issubset(c.names) for t in captions] for c in crops])
    logits = model.logit_scale.exp().clamp(max=max_scale) * images @ texts.t()
    return (_cross_entropy(logits, is_true) + _cross_entropy(logits.t(), is_true.t())) / 2


def _cross_entropy(logits: Tensor, is_true: Tensor) -> Tensor:
    """Return the cross-entropy with a target distributed evenly over the positives of each row."""
    return F.cross_entropy(logits, is_true / is_true.sum(dim=1, keepdim=True))


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
        [model.encode_image(to_pixels(crops[i : i + 256])) for i in range(0, len(crops), 256)]
    )
    predicted = (images @ weight.mean(dim=1).t()).argmax(dim=1)
    correct = np.array([names[i] in crop.names for i, crop in zip(predicted, crops, strict=True)])
    novel = np.array([crop.names[0] in NOVELS for crop in crops])
    return float(correct[~novel].mean() * 100), float(correct[novel].mean() * 100)


def train(settings: TeacherSettings, seed: int, evaluations: int = 12) -> nn.Module:
    """Train a CLIP and log its accuracy on held-out crops at regular intervals.

    Args:
        settings: sizes and schedule.
        seed: of the images, the weights and the batches. No image is one of the detector's.
        evaluations: number of evaluations.

    Returns:
        The trained model, in evaluation mode.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, Split.teacher])
    scenes = []
    with Progress(settings.images, 'draw training images of the CLIP', 'images') as progress:
        for scene in draw_split(Split.teacher, settings.images, seed):
            scenes.append(scene)
            progress.update()
    held_out = _cut_held_out(settings.resolution, seed)

    model = build_clip(settings)
    optimizer = TeacherOptimizer(model, settings)
    with Progress(settings.iterations, 'train the CLIP', 'steps') as progress:
        for step in range(1, settings.iterations + 1):
            single_object = step <= settings.single_object_iterations
            crops, captions = _sample_batch(settings, scenes, single_object, rng)
            loss = contrastive_loss(model.train(), crops, captions, settings.max_scale)
            optimizer.step(loss)
            progress.update(loss=loss.item())
            if step % max(settings.iterations // evaluations, 1) == 0:
                _log_accuracy(model.eval(), step, loss.item(), held_out)
    return model.eval()


def _sample_batch(
    settings: TeacherSettings,
    scenes: Sequence[Scene],
    single_object: bool,
    rng: np.random.Generator,
) -> tuple[list[Crop], list[Caption]]:
    """Return the crops of a step and their captions."""
    if single_object:
        crops = sample_crops(
            scenes, settings.batch, settings.resolution, rng, SINGLE_OBJECT_CONTEXT
        )
        crops = [dataclasses.replace(crop, names=crop.names[:1]) for crop in crops]
        return crops, [Caption(crop.names[0], frozenset(crop.names)) for crop in crops]
    crops = sample_crops(scenes, settings.batch, settings.resolution, rng, windows=settings.windows)
    return crops, [write_caption(crop.names, rng) for crop in crops]


def _cut_held_out(resolution: int, seed: int) -> dict[str, list[Crop]]:
    """Cut near crops, wide crops and blocks of images that are not used in training."""
    scenes = list(draw_split(Split.teacher_held_out, HELD_OUT, seed))
    rng = np.random.default_rng([seed, Split.teacher_held_out])
    near, wide = (cut_crops(scenes, resolution, rng, context=(c, c)) for c in HELD_OUT_CONTEXTS)
    return dict(near=near, wide=wide, blocks=cut_windows(scenes, resolution, HELD_OUT_WINDOWS))


def _log_accuracy(model: Any, step: int, loss: float, held_out: dict[str, list[Crop]]) -> None:
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


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, train the CLIP and save it."""
    parser = ArgumentParser(
        prog='python -m oadp.mini.teacher',
        description="Train the embedded benchmark's CLIP on captioned crops of drawn images.",
    )
    parser.add_argument('--out', type=pathlib.Path, default=OUT, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--iterations',
        type=int,
        default=TeacherSettings.iterations,
        help='training steps; default: %(default)s',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=TeacherSettings.images,
        help='training images; default: %(default)s',
    )
    args = parser.parse_args(arguments)
    check_file('--out', args.out)
    settings = TeacherSettings(
        iterations=args.iterations,
        images=args.images,
        single_object_iterations=min(
            TeacherSettings.single_object_iterations, args.iterations // 3
        ),
    )
    save_clip_archive(train(settings, args.seed), args.out)


if __name__ == '__main__':
    run('oadp.mini.teacher', main)
