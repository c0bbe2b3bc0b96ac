"""Read proposals, and check that they belong to the images of a split.

If a list is read in the wrong order, its length is right, but each image gets the boxes of another one. This
is detected by boxes that extend beyond their images.
"""

__all__ = ['check_proposals', 'load_proposals', 'outside']

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from oadp.compat import load_pickled_arrays

OVERHANG_PIXELS = 2.0
OVERHANG_RATIO = 0.01
"""Tolerance for boxes beyond an edge of their image: the maximum of a number of pixels and a fraction of the
side. Rescaling and rounding to float16 move a box by less."""


def load_proposals(
    file: str | os.PathLike,
    image_ids: Sequence[int],
    sizes_wh: Sequence[tuple[int, int] | None],
    is_sorted: bool,
) -> dict[int, np.ndarray]:
    """Read the proposals of a split.

    Args:
        file: pickled list of (k, 5) float arrays: xyxy in pixels of the image, objectness.
        image_ids: see :func:`check_proposals`.
        sizes_wh: see :func:`check_proposals`.
        is_sorted: see :func:`check_proposals`.

    Returns:
        Image id to (k, 5) float32 array.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see :func:`check_proposals`.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise FileNotFoundError(f'{file}: no such file of proposals (README, "Proposals")')
    checked = check_proposals(file, load_pickled_arrays(file), image_ids, sizes_wh, is_sorted)
    ids = sorted(image_ids) if is_sorted else image_ids
    return dict(zip(ids, checked, strict=True))


def check_proposals(
    file: str | os.PathLike,
    arrays: Any,
    image_ids: Sequence[int],
    sizes_wh: Sequence[tuple[int, int] | None],
    is_sorted: bool,
) -> list[np.ndarray]:
    """Check the proposals of a split.

    Args:
        file: path for error messages; not read.
        arrays: content of the file.
        image_ids: ids of the n images, in the order of the annotation file.
        sizes_wh: widths and heights of the images in pixels; None if unknown.
        is_sorted: whether the list is in the order of ascending image ids instead.

    Returns:
        n arrays in the order of the list: (k, 5) float32, xyxy in pixels and objectness.

    Raises:
        ValueError: not a list of n such arrays, boxes with swapped corners, or boxes far outside
            their images. Non-finite numbers are accepted here: they are a failure of their image
            when it is encoded.
    """
    file = pathlib.Path(file)
    if not isinstance(arrays, (list, tuple)):
        raise ValueError(f'{file}: expected a list of arrays, found a {type(arrays).__name__}')
    if len(arrays) != len(image_ids):
        raise ValueError(
            f'{file}: proposals of {len(arrays)} images, but the annotation file has '
            f'{len(image_ids)} images; the two must be of the same split of the same dataset'
        )
    in_file = np.arange(len(image_ids))
    by_id = np.array(sorted(in_file, key=lambda i: image_ids[i]), int)
    order, other = (by_id, in_file) if is_sorted else (in_file, by_id)
    checked = [
        _checked(f'{file}: number {n} of the list, proposals of image {image_ids[i]}', array)
        for n, (i, array) in enumerate(zip(order, arrays, strict=True))
    ]
    wrong = _misfits(checked, [sizes_wh[i] for i in order])
    if wrong:
        box = checked[wrong[0]]
        first, size = image_ids[order[wrong[0]]], sizes_wh[order[wrong[0]]]
        fits = not _misfits(checked, [sizes_wh[i] for i in other])
        raise ValueError(
            f'{file}: {len(wrong)} of {len(checked)} images have proposals far outside the image, '
            f'such as image {first} of {size[0]} × {size[1]} pixels, whose boxes span '
            f'({box[:, 0].min():g}, {box[:, 1].min():g}) to '
            f'({box[:, 2].max():g}, {box[:, 3].max():g}); {_advice(is_sorted, fits)}'
        )
    return checked


def _advice(is_sorted: bool, fits: bool) -> str:
    read_as = 'ascending image id' if is_sorted else "the annotation file's images"
    if fits:
        return (
            f'they fit in the other order, so set proposal_sorted={not is_sorted} (it is '
            f'{is_sorted}: the list is read in the order of {read_as})'
        )
    return (
        f'check proposal_sorted (it is {is_sorted}: the list is read in the order of {read_as}), '
        'and that the proposals are of these images, in pixels of the original image, as x1, y1, '
        'x2, y2, objectness'
    )


def _misfits(arrays: Sequence[np.ndarray], sizes_wh: Sequence[tuple[int, int] | None]) -> list[int]:
    return [
        i
        for i, (array, size) in enumerate(zip(arrays, sizes_wh, strict=True))
        if size and np.isfinite(array).all() and outside(array[:, :4], size).any()
    ]


def outside(xyxy: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Return which boxes extend beyond their image by more than the tolerance.

    Args:
        xyxy: (n, 4) boxes in pixels.
        size_wh: width and height of the image in pixels.

    Returns:
        (n,) bool.

    >>> boxes = np.array([[-1., 0., 101., 50.], [0., 0., 104., 50.]])
    >>> outside(boxes, (100, 50)).tolist()
    [False, True]
    """
    size = np.array([*size_wh, *size_wh], np.float64)
    slack = np.maximum(OVERHANG_PIXELS, OVERHANG_RATIO * size)
    return ((xyxy < -slack) | (xyxy > size + slack)).any(axis=1)


def _checked(what: str, array: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 5:
        found = getattr(array, 'shape', type(array).__name__)
        raise ValueError(
            f'{what}: expected an (n, 5) array of x1, y1, x2, y2, objectness, found {found}'
        )
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'{what}: expected an array of numbers, found {array.dtype}')
    with np.errstate(over='ignore'):
        array = np.asarray(array, dtype=np.float32)
    swapped = (array[:, 2:4] < array[:, :2]).any(axis=1)
    if swapped.any():
        raise ValueError(
            f'{what}: {swapped.sum()} boxes whose x2 or y2 is less than x1 or y1, such as '
            f'{array[swapped][0, :4].tolist()}; expected corners x1, y1, x2, y2'
        )
    return array
