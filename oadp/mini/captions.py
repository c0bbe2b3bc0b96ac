"""What the benchmark's CLIP learns from: crops of pictures, each with a caption that names things.

CLIP saw the web: all kinds of objects, near and far, alone and together, with sentences that name
some of them. So here: crops of varied context around objects of *all* classes, and windows anywhere.
"""

__all__ = ['Crop', 'caption', 'cut_crops']

import dataclasses
from collections.abc import Iterable

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
SMALLEST_WINDOW = 48  # pixels; the side of a crop that is not around an object

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


def cut_crops(
    scenes: Iterable[Scene],
    resolution: int,
    rng: np.random.Generator,
    context: tuple[float, float] = (NEAREST, WIDEST),
    windows: int = 0,
) -> list[Crop]:
    """Cut each object with some context, and windows anywhere.

    Args:
        scenes: the pictures.
        resolution: side of the result, pixels.
        context: least and greatest side of an object's crop, by the longer side of its box.
        windows: crops of a picture that are not around an object; those without objects are left
            out.
    """
    crops = []
    for scene in scenes:
        for i, box in enumerate(scene.boxes):
            factor = np.exp(rng.uniform(*np.log(context)))
            side = factor * max(box[2] - box[0], box[3] - box[1])
            centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.05, 0.05, 2) * side
            crops.append(_cut(scene, centre, side, resolution, first=i))
        longest = min(scene.image.shape[:2])
        for _ in range(windows):
            side = np.exp(rng.uniform(np.log(SMALLEST_WINDOW), np.log(longest)))
            size = np.array(scene.image.shape[1::-1])
            centre = rng.uniform(side / 2, size - side / 2)
            crop = _cut(scene, centre, side, resolution)
            if crop.names:
                crops.append(crop)
    return crops


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


def caption(names: tuple[str, ...], rng: np.random.Generator) -> str:
    """A sentence that names some of what is to be seen, in any order, now and then by other words.

    >>> caption(('star', 'ring'), np.random.default_rng(0))
    'There is one medium ring and the star in the picture'
    """
    count = min(len(names), MAX_NAMES)
    words = [
        SYNONYMS[name] if name in SYNONYMS and rng.random() < SYNONYM_RATE else name
        for name in rng.permutation(names)[:count]
    ]
    if len(words) == 1 and rng.random() < 0.2:
        return words[0]
    others = [f'{_ARTICLES[rng.integers(len(_ARTICLES))]} {word}' for word in words[1:]]
    listing = ' and '.join([words[0], *others])
    return VILD[rng.integers(len(VILD))].format(listing)
