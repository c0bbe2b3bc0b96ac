"""The eight fillings of the embedded benchmark: how the inside of a shape is painted.

A filling is a function of the position within a shape, so it is rotated, stretched and mirrored
with the shape. It says which part is bright and which is dark; the two colours are arbitrary.
"""

__all__ = ['draw_filling']

from collections.abc import Callable

import cv2
import numpy as np

HOLLOW_WIDTH = 0.2
"""Width of the outline of a hollow shape, in units of half the shape's side."""

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _wave(x: np.ndarray, period: float) -> np.ndarray:
    """Return the distance to the edge of the nearest stripe, positive within a stripe."""
    return period * (0.25 - np.abs((x / period) % 1 - 0.5))


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.ones_like(u)


def _striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(u, 0.55)


def _barred(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(v) - 0.24


def _halved(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u


def _ringed(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _wave(np.hypot(u, v) + 0.3, 0.6)


def _checkered(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    first, second = _wave(u, 0.9), _wave(v, 0.9)
    return np.sign(first * second) * np.minimum(np.abs(first), np.abs(second))


def _dotted(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    du, dv = (0.5 * ((x / 0.5) % 1 - 0.5) for x in (u, v))
    return np.hypot(du, dv) - 0.15


_PATTERNS: dict[str, Pattern] = {
    'plain': _plain,
    'striped': _striped,
    'dotted': _dotted,
    'checkered': _checkered,
    'halved': _halved,
    'barred': _barred,
    'ringed': _ringed,
}
"""Distances to the boundary between bright and dark, positive where bright, in units of half the
shape's side."""


def draw_filling(
    name: str, cover: np.ndarray, transform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a shape.

    Args:
        name: one of ``oadp.mini.classes.FILLINGS``.
        cover: (h, w) float32 in [0, 1]: the fraction of each pixel that the shape covers.
        transform: (2, 3) affine map from the shape's unit square to pixels.

    Returns:
        Two (h, w) float32 arrays in [0, 1]: the painted fraction of each pixel, which is smaller
        than ``cover`` for a hollow shape only, and the bright fraction of the painted part.
    """
    side = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))  # pixels per unit
    if name == 'hollow':
        inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        outline = (0.5 + HOLLOW_WIDTH * side - inside).clip(0, 1)
        return cover * outline, np.ones_like(cover)
    ys, xs = np.mgrid[: cover.shape[0], : cover.shape[1]] + 0.5
    points = np.stack([xs, ys], axis=-1) - transform[:, 2]
    u, v = np.moveaxis(points @ np.linalg.inv(transform[:, :2]).T, -1, 0)
    bright = (0.5 + _PATTERNS[name](u, v) * side).clip(0, 1)
    return cover, bright.astype(np.float32)
