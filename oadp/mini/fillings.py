"""The four fillings of the embedded benchmark: how the inside of a shape is painted.

A filling is a function of the position within a shape, so it is rotated, stretched and mirrored
with the shape. It says which part is bright and which is dark; the two colours are arbitrary.
"""

__all__ = ['draw_filling']

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _wave(x: np.ndarray, period: float) -> np.ndarray:
    """Return the distance to the edge of the nearest stripe, positive within a stripe."""
    return period * (0.25 - np.abs((x / period) % 1 - 0.5))


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.ones_like(u)


def _striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(u, 0.55)


def _dotted(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    du, dv = (0.5 * ((x / 0.5) % 1 - 0.5) for x in (u, v))
    return np.hypot(du, dv) - 0.15


def _halved(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return v


_PATTERNS: dict[str, Pattern] = {
    'plain': _plain,
    'striped': _striped,
    'dotted': _dotted,
    'halved': _halved,
}
"""Distances to the boundary between bright and dark, positive where bright, in units of half the
shape's side."""


def draw_filling(name: str, size: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Paint a plane, of which the shape is cut out.

    Args:
        name: one of ``FILLINGS`` in ``oadp.mini.classes``.
        size: width and height of the result, in pixels.
        transform: (2, 3) affine map from the shape's unit square to pixels.

    Returns:
        (h, w) float32 in [0, 1]: the bright fraction of each pixel.
    """
    pixels_per_unit = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    xs, ys = np.meshgrid(*(np.arange(n) + 0.5 for n in size))
    points = np.stack([xs, ys], axis=-1) - transform[:, 2]
    u, v = np.moveaxis(points @ np.linalg.inv(transform[:, :2]).T, -1, 0)
    return (0.5 + _PATTERNS[name](u, v) * pixels_per_unit).clip(0, 1).astype(np.float32)
