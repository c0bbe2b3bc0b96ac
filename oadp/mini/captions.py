"""What the benchmark's CLIP learns from: crops of pictures, each with a caption that names things.

CLIP saw the web: all kinds of objects, near and far, alone and together, with sentences that name
some of them. So here: crops of varied context around objects of *all* classes, and windows anywhere,
such as the blocks of an image are. No crop is shown twice: a small network learns a few thousand by
heart in the minutes that it has.
"""

__all__ = ['Caption', 'Crop', 'caption', 'cut_crops', 'cut_windows', 'draw_crops']

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..prompts.templates import VILD
from .scene import Scene
from .shapes import SYNONYMS

VISIBLE = 0.6
"""A thing is in a crop if this part of its box is."""

MAX_NAMES = 3
SYNONYM_RATE = 0.15
NEAREST, WIDEST = 1.0, 3.2  # sides of a crop, by the longer side of the object's box
MAX_SHIFT = 0.12  # of an object from the centre of its crop, by the crop's side
SMALLEST_WINDOW = 40  # pixels; the side of a crop that is not around an object

_ARTICLES = ('a', 'the', 'one')


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square piece of a picture.

    Attributes:
        pixels: (resolution, resolution, 3) uint8, RGB.
        names: the classes to be seen; where the crop is around an object, that one's is first.
    """

    pixels: np.ndarray
    names: tuple[str, ...]


class Caption(NamedTuple):
    """A sentence and the classes that it speaks of."""

    text: str
    names: frozenset[str]


def cut_crops(
    scenes: Iterable[Scene],
    resolution: int,
    rng: np.random.Generator,
    context: tuple[float, float] = (NEAREST, WIDEST),
    max_shift: float = 0.05,
) -> list[Crop]:
    """Cut each object once, with some context.

    Args:
        scenes: the pictures.
        resolution: side of the result, pixels.
        context: least and greatest side of a crop, by the longer side of the object's box.
        max_shift: of the object from the centre, by the side of the crop.
    """
    return [
        _around(scene, i, resolution, rng, context, max_shift)
        for scene in scenes
        for i in range(len(scene.boxes))
    ]


def cut_windows(scenes: Iterable[Scene], resolution: int, sides: Iterable[int]) -> list[Crop]:
    """Cut square windows of the given sides in pixels, half a side apart; those that show something."""
    crops = []
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for side in sides:
            for x in range(0, width - side + 1, side // 2):
                for y in range(0, height - side + 1, side // 2):
                    crops.append(_cut(scene, np.array([x, y]) + side / 2, side, resolution))
    return [crop for crop in crops if crop.names]


def draw_crops(
    scenes: Sequence[Scene],
    count: int,
    resolution: int,
    rng: np.random.Generator,
    context: tuple[float, float] = (NEAREST, WIDEST),
    windows: float = 0.0,
) -> list[Crop]:
    """Cut at random: around some object, or anywhere; half of the crops are mirrored.

    Args:
        scenes: the pictures.
        count: number of crops.
        resolution: side of the result, pixels.
        context: least and greatest side of an object's crop, by the longer side of its box.
        windows: share of the crops that are not around an object. They show something all the same.
    """
    crops: list[Crop] = []
    while len(crops) < count:
        scene = scenes[rng.integers(len(scenes))]
        if rng.random() < windows:
            size = np.array(scene.image.shape[1::-1])
            side = np.exp(rng.uniform(*np.log((SMALLEST_WINDOW, size.min()))))
            crop = _cut(scene, rng.uniform(side / 2, size - side / 2), side, resolution)
            if not crop.names:
                continue
        else:
            i = int(rng.integers(len(scene.boxes)))
            crop = _around(scene, i, resolution, rng, context, MAX_SHIFT)
        if rng.random() < 0.5:
            crop = dataclasses.replace(crop, pixels=crop.pixels[:, ::-1])
        crops.append(crop)
    return crops


def _around(
    scene: Scene,
    i: int,
    resolution: int,
    rng: np.random.Generator,
    context: tuple[float, float],
    max_shift: float,
) -> Crop:
    box = scene.boxes[i]
    side = np.exp(rng.uniform(*np.log(context))) * max(box[2:] - box[:2])
    centre = (box[:2] + box[2:]) / 2 + rng.uniform(-max_shift, max_shift, 2) * side
    return _cut(scene, centre, side, resolution, first=i)


def _cut(
    scene: Scene, centre: np.ndarray, side: float, resolution: int, first: int | None = None
) -> Crop:
    """A square, moved into the picture where it overhangs it; black where it is too large."""
    size = np.array(scene.image.shape[1::-1])
    low, high = np.full(2, side / 2), size - side / 2
    centre = np.where(low <= high, np.clip(centre, low, high), size / 2)
    x0, y0, x1, y1 = (float(v) for v in (*(centre - side / 2), *(centre + side / 2)))
    pixels = Image.fromarray(scene.image).crop((round(x0), round(y0), round(x1), round(y1)))
    pixels = pixels.resize((resolution, resolution), Image.Resampling.BICUBIC)

    boxes = scene.boxes
    inner = np.minimum(boxes[:, 2:], (x1, y1)) - np.maximum(boxes[:, :2], (x0, y0))
    share = inner.clip(0).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    names = [scene.names[i] for i in np.flatnonzero(share >= VISIBLE) if i != first]
    if first is not None:
        names.insert(0, scene.names[first])
    return Crop(np.asarray(pixels), tuple(dict.fromkeys(names)))


def caption(names: Sequence[str], rng: np.random.Generator) -> Caption:
    """A sentence that names some of what is to be seen, in any order, now and then by other words.

    >>> caption(('star', 'ring'), np.random.default_rng(0)).text
    'a photo of a small star and a ring in the scene'
    """
    count = min(len(names), int(rng.integers(1, MAX_NAMES + 1)))
    said = rng.permutation(names)[:count].tolist()
    words = [
        SYNONYMS[name] if name in SYNONYMS and rng.random() < SYNONYM_RATE else name
        for name in said
    ]
    if len(words) == 1 and rng.random() < 0.2:
        return Caption(words[0], frozenset(said))
    others = [f'{_ARTICLES[rng.integers(len(_ARTICLES))]} {word}' for word in words[1:]]
    listing = ' and '.join([words[0], *others])
    return Caption(VILD[rng.integers(len(VILD))].format(listing), frozenset(said))
