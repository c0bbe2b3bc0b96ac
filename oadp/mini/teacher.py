"""The benchmark's CLIP: small, trained in minutes on captioned crops of all classes.

It is the ``clip`` package's own model class, and its file has the layout of OpenAI's archives, so
that everything downstream takes it for CLIP. What it learns from are pictures of its own
(``captions``), never those of the detector.
"""

__all__ = ['Teacher', 'build_clip', 'main', 'train']

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip_model import encode_texts, import_clip, save_clip_archive, tokenize
from ..progress import Progress
from ..prompts.templates import VILD
from ..runtime import get_logger
from ..utils.command import ArgumentParser, run
from .captions import NEAREST, Caption, Crop, caption, cut_crops, cut_windows, draw_crops
from .optimizer import TeacherOptimizer
from .scene import Scene
from .settings import Teacher
from .shapes import BASES, NOVELS
from .world import Split, draw_split

OUT = pathlib.Path('pretrained/mini/clip.pt')

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel transform."""

HELD_OUT = 60  # pictures
CHECKED = (1.3, 2.83)
"""Sides of the crops that are checked, by the longer side of a box: CLIP's view of an object by itself,
and that of OAKE's objects, √8 for a square one."""
CHECKED_WINDOWS = (48, 72, 108)  # pixels; the sides of OAKE's blocks at a resolution of 48
PRIMER_CONTEXT = (NEAREST, 1.6)


def build_clip(spec: Teacher) -> nn.Module:
    """A ``clip.model.CLIP`` with random weights."""
    model = import_clip().model.CLIP(
        embed_dim=spec.embedding,
        image_resolution=spec.resolution,
        vision_layers=spec.layers,
        vision_width=spec.width,
        vision_patch_size=spec.patch,
        context_length=spec.context_length,
        vocab_size=49408,  # of CLIP's tokeniser
        transformer_width=spec.text_width,
        transformer_heads=spec.text_width // 64,
        transformer_layers=spec.text_layers,
    )
    # With CLIP's own, smaller numbers all words and all places look alike for too long.
    nn.init.normal_(model.token_embedding.weight, std=0.3)
    model.visual.positional_embedding.data[1:] = _waves(spec.resolution // spec.patch, spec.width)
    # Captions use few of the words: a gradient and an update for these alone.
    model.token_embedding.sparse = True
    return model


def _waves(side: int, width: int) -> Tensor:
    """(side², width): smooth over the grid, so that it can be resized, as OAKE does."""
    frequencies = torch.logspace(0, 1, width // 4) * math.pi / (2 * side)
    angles = torch.arange(side)[:, None] * frequencies
    axis = 0.7 * torch.cat([angles.sin(), angles.cos()], dim=1)  # about 0.5 in the mean
    rows, columns = axis.repeat_interleave(side, 0), axis.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)


def to_pixels(crops: Sequence[Crop]) -> Tensor:
    """(n, 3, resolution, resolution), normalised as CLIP's inputs."""
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    return (pixels.float() - mean) / std


def contrast(
    model: nn.Module, crops: Sequence[Crop], captions: Sequence[Caption], max_scale: float
) -> Tensor:
    """CLIP's symmetric loss. Every caption that is true of a crop is a right answer.

    Captions of the web are hardly ever true of another picture of the batch; in a world of few
    things they often are, and to call that wrong would be to teach noise.

    Args:
        model: a CLIP.
        crops: n crops.
        captions: theirs.
        max_scale: bound of the factor of the cosine similarities.
    """
    images = F.normalize(model.encode_image(to_pixels(crops)), dim=1)
    tokens = tokenize([c.text for c in captions], model.context_length)
    length = int(tokens.argmax(dim=1).max()) + 1
    texts = F.normalize(model.encode_text(tokens[:, :length]), dim=1)
    is_true = torch.tensor([[t.names.issubset(c.names) for t in captions] for c in crops])
    logits = model.logit_scale.exp().clamp(max=max_scale) * images @ texts.t()
    return (_agreement(logits, is_true) + _agreement(logits.t(), is_true.t())) / 2


def _agreement(logits: Tensor, is_true: Tensor) -> Tensor:
    """Cross-entropy with a target that all right answers share equally."""
    return F.cross_entropy(logits, is_true / is_true.sum(dim=1, keepdim=True))


@torch.no_grad()
def accuracy(model: nn.Module, crops: list[Crop]) -> tuple[float, float]:
    """Percent of crops whose object is the nearest of all class names: of base, of novel ones."""
    names = BASES + NOVELS
    texts = [template.format(name) for name in names for template in VILD[::8]]
    weight = encode_texts(model, texts).view(len(names), -1, model.text_projection.shape[1])
    images = torch.cat(
        [model.encode_image(to_pixels(crops[i : i + 256])) for i in range(0, len(crops), 256)]
    )
    found = (images @ weight.mean(dim=1).t()).argmax(dim=1)
    # Where several things are to be seen, any of them is a right answer.
    right = np.array([names[i] in crop.names for i, crop in zip(found, crops, strict=True)])
    novel = np.array([crop.names[0] in NOVELS for crop in crops])
    return float(right[~novel].mean() * 100), float(right[novel].mean() * 100)


def train(spec: Teacher, seed: int, checks: int = 12) -> nn.Module:
    """Train a CLIP; a line now and then says how well it knows crops it has not seen.

    Args:
        seed: of the pictures, the weights and the order. The pictures are none of the detector's.
        checks: number of those lines.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, Split.teacher])
    scenes = []
    with Progress(spec.images, 'draw for the teacher', 'images') as progress:
        for scene in draw_split(Split.teacher, spec.images, seed):
            scenes.append(scene)
            progress.update()
    checked = _held_out(spec.resolution, seed)

    model = build_clip(spec)
    optimizer = TeacherOptimizer(model, spec)
    with Progress(spec.iterations, 'teach the teacher', 'steps') as progress:
        for step in range(1, spec.iterations + 1):
            crops, captions = _lesson(spec, scenes, step <= spec.primer, rng)
            loss = contrast(model.train(), crops, captions, spec.max_scale)
            optimizer.step(loss)
            progress.update(loss=loss.item())
            if step % max(spec.iterations // checks, 1) == 0:
                _report(model.eval(), step, loss.item(), checked)
    return model.eval()


def _lesson(
    spec: Teacher, scenes: Sequence[Scene], is_primer: bool, rng: np.random.Generator
) -> tuple[list[Crop], list[Caption]]:
    """Crops of a step, and their captions."""
    if is_primer:
        crops = draw_crops(scenes, spec.batch, spec.resolution, rng, PRIMER_CONTEXT)
        crops = [dataclasses.replace(crop, names=crop.names[:1]) for crop in crops]
        return crops, [Caption(crop.names[0], frozenset(crop.names)) for crop in crops]
    crops = draw_crops(scenes, spec.batch, spec.resolution, rng, windows=spec.windows)
    return crops, [caption(crop.names, rng) for crop in crops]


def _held_out(resolution: int, seed: int) -> dict[str, list[Crop]]:
    """Crops of pictures that nothing is learned from: near ones, wide ones, blocks."""
    scenes = list(draw_split(Split.teacher_held_out, HELD_OUT, seed))
    rng = np.random.default_rng([seed, Split.teacher_held_out])
    near, wide = (cut_crops(scenes, resolution, rng, context=(c, c)) for c in CHECKED)
    return dict(near=near, wide=wide, blocks=cut_windows(scenes, resolution, CHECKED_WINDOWS))


def _report(model: nn.Module, step: int, loss: float, checked: dict[str, list[Crop]]) -> None:
    figures = ', '.join(
        '{} {:.1f} / {:.1f} %'.format(name, *accuracy(model, crops))
        for name, crops in checked.items()
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
    parser = ArgumentParser(
        prog='python -m oadp.mini.teacher',
        description="Train the embedded benchmark's CLIP on captioned crops of drawn pictures.",
    )
    parser.add_argument('--out', type=pathlib.Path, default=OUT, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--iterations', type=int, default=Teacher.iterations)
    parser.add_argument('--images', type=int, default=Teacher.images)
    args = parser.parse_args(arguments)
    spec = Teacher(
        iterations=args.iterations,
        images=args.images,
        primer=min(Teacher.primer, args.iterations // 3),
    )
    save_clip_archive(train(spec, args.seed), args.out)


if __name__ == '__main__':
    run('oadp.mini.teacher', main)
