"""The twelve shapes of the embedded benchmark, and a function that draws them.

A shape is a list of parts in the square [-1, 1]², y down: polygons that are added to it or
subtracted from it, in order. Because shapes are data, every class is rotated, stretched and
mirrored in the same way, so that these transformations do not reveal the class.
"""

__all__ = ['draw_shape']

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

Points = Sequence[tuple[float, float]]

SUPERSAMPLING = 4
_SHIFT = 4  # bits of OpenCV's fixed-point coordinates


@dataclasses.dataclass(frozen=True)
class Part:
    """A polygon.

    Attributes:
        points: (n, 2) x, y in [-1, 1].
        added: whether the part is added to the shape; otherwise it is subtracted.
    """

    points: np.ndarray
    added: bool = True


def _fill(points: Points, added: bool = True) -> Part:
    return Part(np.asarray(points, np.float64), added)


def _box(x0: float, y0: float, x1: float, y1: float, added: bool = True) -> Part:
    return _fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], added)


def _arc(
    x: float, y: float, rx: float, ry: float | None = None, start: float = 0, end: float = 360
) -> Points:
    """Return 49 points on an elliptical arc; angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 49))
    ry = rx if ry is None else ry
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _oval(x: float, y: float, rx: float, ry: float | None = None, added: bool = True) -> Part:
    return _fill(_arc(x, y, rx, ry), added)


def _spokes(n: int, radii: Sequence[float], offsets: Sequence[float]) -> Points:
    """Return a closed outline of n equal sectors, with ``radii`` at ``offsets`` of each."""
    turns = [((i + o) / n, r) for i in range(n) for r, o in zip(radii, offsets, strict=True)]
    return [(r * np.sin(2 * np.pi * t), -r * np.cos(2 * np.pi * t)) for t, r in turns]


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 65)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x / 17, -(y + 2.5) / 15], axis=1)


_PARTS: dict[str, list[Part]] = {
    'disc': [_oval(0, 0, 0.92)],
    'square': [_box(-0.85, -0.85, 0.85, 0.85)],
    'triangle': [_fill([(0, -0.95), (0.95, 0.8), (-0.95, 0.8)])],
    'star': [_fill(_spokes(5, (1.0, 0.4), (0, 0.5)))],
    'arrow': [
        _fill(
            [
                (-0.95, -0.28),
                (0.1, -0.28),
                (0.1, -0.8),
                (0.98, 0),
                (0.1, 0.8),
                (0.1, 0.28),
                (-0.95, 0.28),
            ]
        )
    ],
    'heart': [_fill(_heart())],
    'cross': [_box(-0.3, -0.95, 0.3, 0.95), _box(-0.95, -0.3, 0.95, 0.3)],
    'house': [
        _fill([(-1, -0.05), (0, -0.95), (1, -0.05)]),
        _box(-0.72, -0.05, 0.72, 0.92),
        _box(-0.2, 0.35, 0.2, 0.92, added=False),
    ],
    'fish': [
        _oval(-0.2, 0, 0.75, 0.52),
        _fill([(0.35, 0), (0.98, -0.6), (0.98, 0.6)]),
        _oval(-0.55, -0.12, 0.11, added=False),
    ],
    'tree': [
        _fill([(0, -1), (0.55, -0.3), (-0.55, -0.3)]),
        _fill([(0, -0.6), (0.8, 0.45), (-0.8, 0.45)]),
        _box(-0.18, 0.4, 0.18, 0.98),
    ],
    'bottle': [
        _fill(
            [
                (-0.18, -0.7),
                (0.18, -0.7),
                (0.18, -0.35),
                (0.48, 0),
                (0.48, 0.98),
                (-0.48, 0.98),
                (-0.48, 0),
                (-0.18, -0.35),
            ]
        ),
        _box(-0.26, -0.98, 0.26, -0.76),
    ],
    'crown': [
        _fill(
            [
                (-0.85, 0.75),
                (-0.98, -0.6),
                (-0.45, 0.05),
                (0, -0.85),
                (0.45, 0.05),
                (0.98, -0.6),
                (0.85, 0.75),
            ]
        )
    ],
}


def draw_shape(name: str, size: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Draw a shape with antialiased edges.

    Args:
        name: one of ``oadp.mini.classes.SHAPES``.
        size: width and height of the result, in pixels.
        transform: (2, 3) affine map from the unit square to pixels.

    Returns:
        (h, w) float32 in [0, 1]: the fraction of each pixel that the shape covers.
    """
    width, height = (s * SUPERSAMPLING for s in size)
    mask = np.zeros((height, width), np.uint8)
    for part in _PARTS[name]:
        points = (part.points @ transform[:, :2].T + transform[:, 2]) * SUPERSAMPLING
        points = np.round(points * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [points], (float(part.added),), shift=_SHIFT)
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
