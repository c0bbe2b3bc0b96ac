"""Draw one image of the benchmark: bright objects and clutter on a dark textured background.

A class differs from the others in its outline only. Colour, texture, size, stretch, rotation and
mirroring are sampled from the same distributions for all classes.
"""

__all__ = ['Scene', 'draw_scene']

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from oadp.mini.shapes import draw_shape

SIZES = ((160, 160), (176, 160), (160, 176))
"""Widths and heights of images, in pixels. Multiples of 16, so that batches need little padding."""

NUM_OBJECTS = (3, 6)
OBJECT_SIDE = (26, 56)  # pixels, before stretch and rotation
MAX_STRETCH = 1.2
MAX_ROTATION = 20  # degrees
MAX_COVERED = 0.2  # fraction of an object's box that another's may cover
ATTEMPTS = 30  # at placing an object, before it is left out

Range = tuple[float, float]


@dataclasses.dataclass
class Scene:
    """An image and its objects.

    Attributes:
        image: (h, w, 3) uint8, RGB.
        boxes: (n, 4) float32 xyxy, in pixels: the extent of the whole outline, covered parts
            included.
        areas: (n,) float32, numbers of pixels within the outlines.
        names: the n class names.
    """

    image: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    names: list[str]


def draw_scene(
    rng: np.random.Generator, names: Sequence[str], weights: Sequence[float] | None = None
) -> Scene:
    """Draw an image with three to six objects, fewer where there is no room.

    Args:
        rng: generator of all choices.
        names: classes to choose from.
        weights: probability of each class; None: all are equally likely.

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
        cover = _draw_object(rng, name)
        place = _find_place(rng, cover, (width, height), boxes)
        if place is None:
            continue
        x, y = place
        window = image[y : y + cover.shape[0], x : x + cover.shape[1]]
        alpha = cover[..., None] * rng.uniform(0.85, 1)
        window[:] = window * (1 - alpha) + _draw_texture(rng, *cover.shape) * alpha
        boxes.append(np.array([x, y, x + cover.shape[1], y + cover.shape[0]], np.float32))
        areas.append(float(cover.sum()))
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


def _draw_object(rng: np.random.Generator, name: str) -> np.ndarray:
    """Return the (h, w) coverage in [0, 1] of a randomly transformed outline, cut to its extent."""
    side = rng.uniform(*OBJECT_SIDE)
    stretch = MAX_STRETCH ** rng.uniform(-1, 1)
    angle = np.radians(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    mirror = rng.choice([-1, 1])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.diag([mirror * stretch**0.5, stretch**-0.5]) * side / 2
    canvas = int(1.8 * side)
    transform = np.concatenate([matrix, np.full((2, 1), canvas / 2)], axis=1)
    cover = draw_shape(name, (canvas, canvas), transform)
    ys, xs = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
    return cover[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]


def _find_place(
    rng: np.random.Generator, cover: np.ndarray, size: tuple[int, int], boxes: list[np.ndarray]
) -> tuple[int, int] | None:
    """Return an upper left corner where an object covers little of the others, or None.

    Args:
        rng: generator of the corners to try.
        cover: (h, w) coverage of the object.
        size: width and height of the image, in pixels.
        boxes: (4,) xyxy boxes of the others.
    """
    h, w = cover.shape
    for _ in range(ATTEMPTS):
        x, y = int(rng.integers(size[0] - w + 1)), int(rng.integers(size[1] - h + 1))
        for x0, y0, x1, y1 in boxes:
            overlap = max(0, min(x1, x + w) - max(x0, x)) * max(0, min(y1, y + h) - max(y0, y))
            if overlap > MAX_COVERED * min(w * h, (x1 - x0) * (y1 - y0)):
                break
        else:
            return x, y
    return None


def _draw_texture(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Return an (h, w, 3) bright colour in [0, 1]: plain, shaded, striped or dotted."""
    colour = _colour(rng, (0.2, 1), (0.7, 1))
    ys, xs = np.mgrid[:h, :w].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    across = ys * np.cos(angle) - xs * np.sin(angle)
    period = rng.uniform(5, 10)  # pixels
    pattern = (
        np.zeros((h, w)),
        along / max(h, w),
        np.sin(2 * np.pi * along / period),
        np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period),
    )[rng.integers(4)]
    return colour * (1 - 0.25 * (0.5 + 0.5 * pattern[..., None]).clip(0, 1))
