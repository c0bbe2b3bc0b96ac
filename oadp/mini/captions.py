"""Training data of the benchmark's CLIP: windows of images, with captions that name what they show.

CLIP was trained on images of the web with their captions: mostly scenes, in which a sentence names
some of the objects, and few objects that fill the image. The crops here are like that: windows of
all sizes anywhere in an image, whole images, and few crops of single objects. Every step cuts new
crops, because a small network memorizes a few thousand fixed ones within minutes.
"""

__all__ = [
    'ARTICLES',
    'Caption',
    'Crop',
    'cut_crops',
    'cut_windows',
    'sample_crops',
    'write_caption',
]

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from oadp.mini.classes import SYNONYMS
from oadp.mini.scene import Scene
from oadp.prompts.templates import VILD

VISIBLE = 0.6
"""Least visible fraction of an object's box for the object to count as shown by a crop."""

MAX_NAMES = 3
SYNONYM_RATE = 0.15
CONTEXT = (1.0, 1.6)  # side of an object's crop relative to the longer side of its box
MAX_SHIFT = 0.12  # of an object from the centre of its crop, relative to the crop's side

ARTICLES = ('a', 'the', 'one')


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square part of an image.

    Attributes:
        pixels: (resolution, resolution, 3) uint8, RGB.
        names: class names of the visible objects; that of the object on which the crop is centred,
            if any, comes first.
    """

    pixels: np.ndarray
    names: tuple[str, ...]


class Caption(NamedTuple):
    """A sentence and the names of the classes that it mentions."""

    text: str
    names: frozenset[str]


def cut_crops(
    scenes: Iterable[Scene],
    resolution: int,
    rng: np.random.Generator,
    context: tuple[float, float] = CONTEXT,
    max_shift: float = 0.05,
) -> list[Crop]:
    """Cut one crop around each object.

    Args:
        scenes: images and their objects.
        resolution: side of the result, in pixels.
        rng: generator of the sides and shifts.
        context: least and greatest side of a crop, relative to the longer side of the object's box.
        max_shift: greatest distance of the object from the crop's centre, relative to the crop's
            side.

    Returns:
        The crops, in the order of the scenes and of their objects.
    """
    return [
        _cut_around(scene, i, resolution, rng, context, max_shift)
        for scene in scenes
        for i in range(len(scene.boxes))
    ]


def cut_windows(scenes: Iterable[Scene], resolution: int, sides: Iterable[int]) -> list[Crop]:
    """Cut square windows on a grid with a stride of half a side.

    Args:
        scenes: images and their objects.
        resolution: side of the result, in pixels.
        sides: sides of the windows, in pixels.

    Returns:
        The windows that show at least one object.
    """
    crops = []
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for side in sides:
            for x in range(0, width - side + 1, side // 2):
                for y in range(0, height - side + 1, side // 2):
                    crops.append(_cut(scene, np.array([x, y]) + side / 2, side, resolution))
    return [crop for crop in crops if crop.names]


def sample_crops(
    scenes: Sequence[Scene],
    count: int,
    resolution: int,
    rng: np.random.Generator,
    smallest: int,
    objects: float = 0.0,
) -> list[Crop]:
    """Cut crops at random, windows or around an object, and mirror half of them.

    Args:
        scenes: images and their objects.
        count: number of crops.
        resolution: side of the result, in pixels.
        rng: generator of all choices.
        smallest: least side of a window, in pixels; the greatest is the shorter side of the image.
        objects: fraction of the crops that are centred on an object, in [0, 1].

    Returns:
        ``count`` crops; each shows at least one object.
    """
    crops: list[Crop] = []
    while len(crops) < count:
        scene = scenes[rng.integers(len(scenes))]
        if rng.random() < objects:
            i = int(rng.integers(len(scene.boxes)))
            crop = _cut_around(scene, i, resolution, rng, CONTEXT, MAX_SHIFT)
        else:
            size = np.array(scene.image.shape[1::-1])
            side = min(np.exp(rng.uniform(*np.log((smallest, size.min())))), size.min())
            crop = _cut(scene, rng.uniform(side / 2, size - side / 2), side, resolution)
        if rng.random() < 0.5:
            crop = dataclasses.replace(crop, pixels=crop.pixels[:, ::-1])
        if crop.names:
            crops.append(crop)
    return crops


def _cut_around(
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
    """Cut a square, shifted to lie within the image; black where it is larger than the image.

    Args:
        scene: an image and its objects.
        centre: x and y, in pixels.
        side: in pixels.
        resolution: side of the result, in pixels.
        first: index of the object to name first, whether it is visible or not.
    """
    size = np.array(scene.image.shape[1::-1])
    low, high = np.full(2, side / 2), size - side / 2
    centre = np.where(low <= high, np.clip(centre, low, high), size / 2)
    x0, y0, x1, y1 = (float(v) for v in (*(centre - side / 2), *(centre + side / 2)))
    pixels = Image.fromarray(scene.image).crop((round(x0), round(y0), round(x1), round(y1)))
    pixels = pixels.resize((resolution, resolution), Image.Resampling.BICUBIC)

    boxes = scene.boxes
    inner = np.minimum(boxes[:, 2:], (x1, y1)) - np.maximum(boxes[:, :2], (x0, y0))
    visible = inner.clip(0).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    names = [scene.names[i] for i in np.flatnonzero(visible >= VISIBLE) if i != first]
    if first is not None:
        names.insert(0, scene.names[first])
    return Crop(np.asarray(pixels), tuple(dict.fromkeys(names)))


def write_caption(names: Sequence[str], rng: np.random.Generator) -> Caption:
    """Compose a sentence that names some of the given classes, in random order.

    Args:
        names: classes that a crop shows, at least one.
        rng: generator of the choices.

    Returns:
        A caption with one to three of the classes, at times by a synonym.

    Examples:
        >>> write_caption(('plain star', 'dotted tree'), np.random.default_rng(0)).text
        'There is a plain star and a dotted pine'
    """
    count = min(len(names), int(rng.integers(1, MAX_NAMES + 1)))
    mentioned = rng.permutation(names)[:count].tolist()
    words = [_vary(name, rng) for name in mentioned]
    if len(words) == 1 and rng.random() < 0.2:
        return Caption(words[0], frozenset(mentioned))
    others = [f'{ARTICLES[rng.integers(len(ARTICLES))]} {word}' for word in words[1:]]
    listing = ' and '.join([words[0], *others])
    return Caption(VILD[rng.integers(len(VILD))].format(listing), frozenset(mentioned))


def _vary(name: str, rng: np.random.Generator) -> str:
    """Replace some words of a name by synonyms."""
    words = name.split()
    return ' '.join(
        SYNONYMS[word] if word in SYNONYMS and rng.random() < SYNONYM_RATE else word
        for word in words
    )
