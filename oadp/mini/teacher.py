"""Train the benchmark's CLIP: a small one, on captioned crops of all classes.

The model is of the ``clip`` package's own class, and its file has the layout of OpenAI's archives,
so that all other commands read it as a CLIP. Its training images (``captions``) are never those of
the detector.
"""

__all__ = ['contrastive_loss', 'main', 'train']

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oadp.clip.weights import save_clip_archive, tokenize
from oadp.mini.captions import (
    Caption,
    Crop,
    sample_crops,
    write_caption,
)
from oadp.mini.clip_model import build_clip, encode_images, to_pixels
from oadp.mini.dataset import Split, draw_split
from oadp.mini.held_out import cut_held_out, log_accuracy
from oadp.mini.optimizer import TeacherOptimizer
from oadp.mini.scene import SIZES, Scene
from oadp.mini.settings import TEACHER_PHASES, TeacherSettings, shorten_phases
from oadp.utils.command import ArgumentParser, run
from oadp.utils.output_names import check_file
from oadp.utils.progress import Progress

OUT = pathlib.Path('pretrained/mini/clip.pt')

EVALUATIONS = 12
MIN_EVALUATION_INTERVAL = 100  # steps; an evaluation takes as long as about ten


def contrastive_loss(
    model: Any, crops: Sequence[Crop], captions: Sequence[Caption], max_scale: float
) -> Tensor:
    """Compute CLIP's symmetric loss, with every true caption of a crop as a positive.

    A caption from the web hardly ever describes another image of the batch. With few classes that
    happens often, and such pairs as negatives would be label noise.

    Args:
        model: a CLIP.
        crops: n crops.
        captions: m captions; each is true of at least one of the crops.
        max_scale: upper bound of the factor of the cosine similarities.

    Returns:
        A scalar.
    """
    images = F.normalize(encode_images(model, to_pixels(crops)), dim=1)
    tokens = tokenize([c.text for c in captions], model.context_length)
    length = int(tokens.argmax(dim=1).max()) + 1
    texts = F.normalize(model.encode_text(tokens[:, :length]), dim=1)
    is_true = torch.tensor([[t.names.issubset(c.names) for t in captions] for c in crops])
    logits = model.logit_scale.exp().clamp(max=max_scale) * images @ texts.t()
    return (_cross_entropy(logits, is_true) + _cross_entropy(logits.t(), is_true.t())) / 2


def _cross_entropy(logits: Tensor, is_true: Tensor) -> Tensor:
    """Return the cross-entropy with a target distributed evenly over the positives of each row."""
    return F.cross_entropy(logits, is_true / is_true.sum(dim=1, keepdim=True))


def train(phases: Sequence[TeacherSettings], seed: int) -> nn.Module:
    """Train a CLIP and log its accuracy on held-out crops at regular intervals and at the end.

    Args:
        phases: sizes, the same in each, and schedules.
        seed: of the images, the weights and the batches. No image is one of the detector's.

    Returns:
        The trained model, in evaluation mode.
    """
    torch.manual_seed(seed)
    model = build_clip(phases[0])
    held_out = cut_held_out(phases[0].resolution, seed)
    num_steps = sum(phase.iterations for phase in phases)
    interval = max(num_steps // EVALUATIONS, MIN_EVALUATION_INTERVAL)
    steps_before = 0
    for i, phase in enumerate(phases):
        scenes = _draw(phase, seed)
        rng = np.random.default_rng([seed, Split.teacher, i])
        name = f'train the CLIP, phase {i + 1} of {len(phases)}'
        with Progress(phase.iterations, name, 'steps') as progress:
            steps = _train_phase(model, phase, scenes, rng)
            for step, loss in enumerate(steps, start=steps_before + 1):
                progress.update(loss=loss)
                if step % interval == 0 or step == num_steps:
                    log_accuracy(model.eval(), step, loss, held_out)
        steps_before += phase.iterations
    return model.eval()


def _draw(settings: TeacherSettings, seed: int) -> list[Scene]:
    scenes = []
    with Progress(settings.images, 'draw training images of the CLIP', 'images') as progress:
        for scene in draw_split(Split.teacher, settings.images, seed, settings.object_sides):
            scenes.append(scene)
            progress.update()
    return scenes


def _train_phase(
    model: Any, settings: TeacherSettings, scenes: Sequence[Scene], rng: np.random.Generator
) -> Iterator[float]:
    """Train a model; yield the loss of each step."""
    optimizer = TeacherOptimizer(model, settings)
    for step in range(settings.iterations):
        single_object = step < settings.single_object_iterations
        crops, captions = _sample_batch(settings, scenes, single_object, rng)
        loss = contrastive_loss(model.train(), crops, captions, settings.max_scale)
        optimizer.step(loss)
        yield loss.item()


def _sample_batch(
    settings: TeacherSettings,
    scenes: Sequence[Scene],
    single_object: bool,
    rng: np.random.Generator,
) -> tuple[list[Crop], list[Caption]]:
    """Return the crops of a step and their captions."""
    if single_object:
        smallest = settings.smallest_window
        crops = sample_crops(scenes, settings.batch, settings.resolution, rng, smallest, objects=1)
        crops = [dataclasses.replace(crop, names=crop.names[:1]) for crop in crops]
        return crops, [Caption(crop.names[0], frozenset(crop.names)) for crop in crops]
    if rng.random() < settings.whole_images:
        side = min(SIZES[0])
        crops = sample_crops(scenes, settings.batch_whole, side, rng, smallest=side)
    else:
        crops = sample_crops(
            scenes,
            settings.batch,
            settings.resolution,
            rng,
            settings.smallest_window,
            settings.objects,
        )
    each = settings.captions // len(crops)
    return crops, [write_caption(crop.names, rng) for crop in crops for _ in range(each)]


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
        default=sum(phase.iterations for phase in TEACHER_PHASES),
        help='training steps of all phases; default: %(default)s',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=TeacherSettings.images,
        help='training images; default: %(default)s',
    )
    args = parser.parse_args(arguments)
    if args.seed < 0:
        parser.error(f'--seed {args.seed}: expected 0 or more')
    check_file('--out', args.out)
    phases = shorten_phases(TEACHER_PHASES, args.iterations, args.images)
    save_clip_archive(train(phases, args.seed), args.out)


if __name__ == '__main__':
    run('oadp.mini.teacher', main)
