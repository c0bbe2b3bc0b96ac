"""The shapes of the embedded benchmark's classes, and a function that draws them.

A shape is a list of parts in the square [-1, 1]², y down: polygons and polylines that are added to
it or subtracted from it, in order. Because shapes are data, every class is rotated, stretched and
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
    """A polygon, or a polyline if ``width`` is positive.

    Attributes:
        points: (n, 2) x, y in [-1, 1].
        width: of the stroke, in the same unit; 0 for a filled polygon.
        added: whether the part is added to the shape; otherwise it is subtracted.
    """

    points: np.ndarray
    width: float = 0.0
    added: bool = True


def _fill(points: Points, added: bool = True) -> Part:
    return Part(np.asarray(points, np.float64), added=added)


def _line(points: Points, width: float, added: bool = True) -> Part:
    return Part(np.asarray(points, np.float64), width, added)


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


def _almond() -> Points:
    x = np.linspace(-0.98, 0.98, 40)
    y = 0.66 * (1 - x**2)
    return np.stack([np.concatenate([x, x[::-1]]), np.concatenate([-y, y])], axis=1)


_PARTS: dict[str, list[Part]] = {
    'disc': [_oval(0, 0, 0.92)],
    'square': [_box(-0.85, -0.85, 0.85, 0.85)],
    'star': [_fill(_spokes(5, (1.0, 0.4), (0, 0.5)))],
    'ring': [_oval(0, 0, 0.95), _oval(0, 0, 0.55, added=False)],
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
    'gear': [
        _fill(_spokes(8, (0.7, 0.98, 0.98, 0.7), (0.05, 0.2, 0.55, 0.7))),
        _oval(0, 0, 0.28, added=False),
    ],
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
    'bolt': [
        _fill(
            [
                (0.2, -1),
                (-0.6, 0.12),
                (-0.08, 0.12),
                (-0.3, 1),
                (0.6, -0.25),
                (0.08, -0.25),
                (0.55, -1),
            ]
        )
    ],
    'mug': [
        _line(_arc(0.45, 0, 0.42, 0.45), 0.2),
        _box(-0.85, -0.8, 0.5, 0.85),
    ],
    'key': [
        _oval(-0.58, 0, 0.4),
        _oval(-0.58, 0, 0.17, added=False),
        _box(-0.25, -0.13, 0.98, 0.13),
        _box(0.42, 0.1, 0.6, 0.5),
        _box(0.76, 0.1, 0.94, 0.42),
    ],
    'tree': [
        _fill([(0, -1), (0.55, -0.3), (-0.55, -0.3)]),
        _fill([(0, -0.6), (0.8, 0.45), (-0.8, 0.45)]),
        _box(-0.18, 0.4, 0.18, 0.98),
    ],
    'hammer': [_box(-0.85, -0.9, 0.85, -0.35), _box(-0.15, -0.4, 0.15, 0.98)],
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
    'ghost': [
        _fill(
            [
                *_arc(0, -0.13, 0.75, 0.85, 180, 360),
                (0.75, 0.98),
                (0.375, 0.62),
                (0, 0.98),
                (-0.375, 0.62),
                (-0.75, 0.98),
            ]
        ),
        *(_oval(x, -0.2, 0.17, 0.22, added=False) for x in (-0.3, 0.3)),
    ],
    'hourglass': [
        _fill([(-0.7, -0.85), (0.7, -0.85), (0.08, 0), (0.7, 0.85), (-0.7, 0.85), (-0.08, 0)]),
        _box(-0.85, -0.98, 0.85, -0.76),
        _box(-0.85, 0.76, 0.85, 0.98),
    ],
    'butterfly': [
        *(_oval(x, -0.35, 0.46, 0.55) for x in (-0.5, 0.5)),
        *(_oval(x, 0.5, 0.36, 0.44) for x in (-0.4, 0.4)),
        _box(-0.09, -0.75, 0.09, 0.9),
        *(_oval(x, -0.4, 0.17, added=False) for x in (-0.55, 0.55)),
    ],
    'rabbit': [
        _oval(0, 0.4, 0.58),
        *(_oval(x, -0.45, 0.19, 0.53) for x in (-0.3, 0.3)),
        *(_oval(x, 0.3, 0.11, added=False) for x in (-0.22, 0.22)),
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
        ),
        _box(-0.7, 0.4, 0.7, 0.54, added=False),
    ],
    'umbrella': [
        _fill([*_arc(0, 0.05, 0.98, 0.98, 180, 360)]),
        *(_oval(x, 0.06, 0.33, 0.2, added=False) for x in (-0.65, 0, 0.65)),
        _line([(0, -0.2), (0, 0.7)], 0.14),
        _line(_arc(0.2, 0.7, 0.2, 0.2, 180, 0), 0.14),
    ],
    'eye': [_fill(_almond()), _oval(0, 0, 0.4, added=False), _oval(0, 0, 0.2)],
    'clover': [
        *(_oval(x, y, 0.44) for x, y in ((-0.48, -0.05), (0.48, -0.05), (0, -0.52))),
        _fill([(-0.12, -0.1), (0.12, -0.1), (0.4, 0.95), (-0.4, 0.95)]),
    ],
}


def draw_shape(name: str, size: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Draw a shape with antialiased edges.

    Args:
        name: one of ``SHAPES`` in ``oadp.mini.classes``.
        size: width and height of the result, in pixels.
        transform: (2, 3) affine map from the unit square to pixels.

    Returns:
        (h, w) float32 in [0, 1]: the fraction of each pixel that the shape covers.
    """
    parts = _PARTS[name]
    width, height = (s * SUPERSAMPLING for s in size)
    mask = np.zeros((height, width), np.uint8)
    scale = np.sqrt(abs(np.linalg.det(transform[:, :2]))) * SUPERSAMPLING
    for part in parts:
        points = (part.points @ transform[:, :2].T + transform[:, 2]) * SUPERSAMPLING
        points = np.round(points * (1 << _SHIFT)).astype(np.int32)
        value = (float(part.added),)
        if part.width:
            thickness = max(1, round(part.width * scale))
            cv2.polylines(mask, [points], False, value, thickness, shift=_SHIFT)
        else:
            cv2.fillPoly(mask, [points], value, shift=_SHIFT)
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
