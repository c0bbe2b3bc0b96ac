"""Draw one image of the benchmark: bright objects and clutter on a dark textured background.

A class is an outline and a filling. Colours, size, stretch, rotation and mirroring are sampled from
the same distributions for all classes.
"""

__all__ = ['Scene', 'draw_class', 'draw_scene']

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from oadp.mini.classes import CLASSES
from oadp.mini.fillings import draw_filling
from oadp.mini.shapes import draw_shape

SIZES = ((112, 112), (128, 112), (112, 128))
"""Widths and heights of images, in pixels. Multiples of 16, so that batches need little padding."""

Range = tuple[float, float]

NUM_OBJECTS = (2, 4)
OBJECT_SIDES = (20.0, 60.0)  # pixels, before stretch and rotation; log-uniform
MAX_STRETCH = 1.2
MAX_ROTATION = 20  # degrees
MAX_COVERED = 0.2  # fraction of an object's box that another's may cover
ATTEMPTS = 30  # at placing an object, before it is left out


@dataclasses.dataclass
class Scene:
    """An image and its objects.

    Attributes:
        image: (h, w, 3) uint8, RGB.
        boxes: (n, 4) float32 xyxy, in pixels: the extent of the outline, covered parts included.
        areas: (n,) float32, numbers of pixels within the outlines.
        names: the n class names.
    """

    image: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    names: list[str]


def draw_scene(
    rng: np.random.Generator,
    names: Sequence[str],
    weights: Sequence[float] | None = None,
    sides: Range = OBJECT_SIDES,
) -> Scene:
    """Draw an image with two to four objects, fewer where there is no room.

    Args:
        rng: generator of all choices.
        names: classes to choose from.
        weights: probability of each class; None: all are equally likely.
        sides: least and greatest side of an object before stretch and rotation, in pixels.

    Returns:
        The image and its objects.
    """
    width, height = SIZES[rng.integers(len(SIZES))]
    image = _draw_background(rng, width, height)
    _draw_clutter(rng, image, int(rng.integers(4, 11)), brightness=(0.1, 0.5))
    boxes: list[np.ndarray] = []
    areas: list[float] = []
    found: list[str] = []
    for _ in range(rng.integers(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1)):
        name = names[rng.choice(len(names), p=weights)]
        outline, bright = _draw_object(rng, name, sides)
        h, w = outline.shape
        place = _find_place(rng, (w, h), (width, height), boxes)
        if place is None:
            continue
        x, y = place
        window = image[y : y + h, x : x + w]
        alpha = outline[..., None] * rng.uniform(0.85, 1)
        window[:] = window * (1 - alpha) + _colour_in(rng, bright) * alpha
        boxes.append(np.array([x, y, x + w, y + h], np.float32))
        areas.append(float(outline.sum()))
        found.append(name)
    _draw_clutter(rng, image, int(rng.integers(0, 4)), brightness=(0.2, 0.8))
    image += rng.normal(0, rng.uniform(0, 0.03), image.shape)
    return Scene(
        image=(image.clip(0, 1) * 255).round().astype(np.uint8),
        boxes=np.stack(boxes),
        areas=np.array(areas, np.float32),
        names=found,
    )


def _colour(rng: np.random.Generator, saturation: Range, value: Range) -> np.ndarray:
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]])
    return cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def _noise(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """Return (h, w) noise in about [-1, 1], smooth over ``cell`` pixels."""
    coarse = rng.uniform(-1, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _draw_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return (h, w, 3) float32 in [0, 1]."""
    mix = 0.5 + 0.5 * _noise(rng, width, height, int(rng.integers(24, 64)))[..., None]
    first, second = (_colour(rng, (0.1, 0.8), (0.05, 0.35)) for _ in range(2))
    grain = _noise(rng, width, height, int(rng.integers(3, 8)))[..., None]
    return (first * mix + second * (1 - mix) + rng.uniform(0.01, 0.06) * grain).astype(np.float32)


def _draw_clutter(
    rng: np.random.Generator, image: np.ndarray, count: int, brightness: Range
) -> None:
    """Draw thin strokes and small dots, which are not objects, into a float image in [0, 1]."""
    height, width = image.shape[:2]
    for _ in range(count):
        colour = _colour(rng, (0.1, 0.9), brightness).tolist()
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), int(rng.integers(1, 4)), colour, -1, cv2.LINE_AA)
        else:
            dx, dy = rng.integers(-24, 25, 2).tolist()
            cv2.line(image, (x, y), (x + dx, y + dy), colour, 1, cv2.LINE_AA)


def draw_class(
    name: str, size: tuple[int, int], transform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an object.

    Args:
        name: one of ``CLASSES``.
        size: width and height of the result, in pixels.
        transform: (2, 3) affine map from the unit square to pixels.

    Returns:
        Two (h, w) float32 arrays in [0, 1]: the fraction of each pixel within the outline, and the
        bright fraction.
    """
    filling, shape = CLASSES[name]
    return draw_shape(shape, size, transform), draw_filling(filling, size, transform)


def _draw_object(rng: np.random.Generator, name: str, sides: Range) -> list[np.ndarray]:
    """Draw a randomly transformed object and cut it to the extent of its outline.

    Returns:
        The two (h, w) arrays of ``draw_class``.
    """
    side = np.exp(rng.uniform(*np.log(sides)))
    stretch = MAX_STRETCH ** rng.uniform(-1, 1)
    angle = np.radians(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    mirror = rng.choice([-1, 1])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.diag([mirror * stretch**0.5, stretch**-0.5]) * side / 2
    canvas = int(1.8 * side)
    transform = np.concatenate([matrix, np.full((2, 1), canvas / 2)], axis=1)
    arrays = draw_class(name, (canvas, canvas), transform)
    ys, xs = (np.flatnonzero((arrays[0] > 0.5).any(axis=axis)) for axis in (1, 0))
    return [array[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] for array in arrays]


def _find_place(
    rng: np.random.Generator,
    object_size: tuple[int, int],
    size: tuple[int, int],
    boxes: list[np.ndarray],
) -> tuple[int, int] | None:
    """Return an upper left corner where an object covers little of the others, or None.

    Args:
        rng: generator of the corners to try.
        object_size: width and height of the object, in pixels.
        size: width and height of the image, in pixels.
        boxes: (4,) xyxy boxes of the others.
    """
    w, h = object_size
    for _ in range(ATTEMPTS):
        x, y = int(rng.integers(size[0] - w + 1)), int(rng.integers(size[1] - h + 1))
        for x0, y0, x1, y1 in boxes:
            overlap = max(0, min(x1, x + w) - max(x0, x)) * max(0, min(y1, y + h) - max(y0, y))
            if overlap > MAX_COVERED * min(w * h, (x1 - x0) * (y1 - y0)):
                break
        else:
            return x, y
    return None


def _colour_in(rng: np.random.Generator, bright: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) in [0, 1]: two random colours, mixed by the (h, w) bright fraction."""
    light, dark = _colour(rng, (0.2, 1), (0.8, 1)), _colour(rng, (0.2, 1), (0.4, 0.55))
    return light * bright[..., None] + dark * (1 - bright[..., None])
