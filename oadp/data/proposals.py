"""Read proposals, and check that they belong to the images of a split.

A file of COCO's training split has 2.4 GB. It is converted once, and the boxes of an image are read when they
are needed.

If a list is read in the wrong order, its length is right, but each image gets the boxes of another one. This
is detected by boxes that extend beyond their images.
"""

__all__ = ['ProposalList', 'Proposals', 'check_proposals', 'load_proposals', 'outside']

import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from oadp.compat import PickledArray, locate_pickled_arrays, not_arrays
from oadp.data.converted.array_file import ArrayFile, ArrayWriter
from oadp.data.converted.cache import open_converted

_VERSION = 1
"""Increase this when the arrays or the checks change, so that files are converted and checked again."""

_WIDTH = 5  # numbers of a box
_BYTES = _WIDTH * np.dtype(np.float32).itemsize

OVERHANG_PIXELS = 2.0
OVERHANG_RATIO = 0.01
"""Tolerance for boxes beyond an edge of their image: the maximum of a number of pixels and a fraction of the
side. Rescaling and rounding to float16 move a box by less."""


class ProposalList(Sequence[np.ndarray]):
    """The proposals of some images, which are read from a file one at a time.

    Args:
        file: as :func:`load_proposals` converts it.
        rows: (n,) the positions of the images in the file.
    """

    def __init__(self, file: ArrayFile, rows: np.ndarray) -> None:
        self._file = file
        self._rows = rows
        self._first = file.array('first')

    def __reduce__(self) -> tuple[Any, ...]:
        return ProposalList, (self._file, self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """Return the (k, 5) float32 array of a position; those of a slice as a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = int(self._rows[index])
        start, stop = (self._first[row : row + 2] * _BYTES).tolist()
        return np.frombuffer(self._file.read('boxes', start, stop), np.float32).reshape(-1, _WIDTH)

    def select(self, positions: Sequence[int] | np.ndarray) -> 'ProposalList':
        """Return the proposals of some positions."""
        return ProposalList(self._file, self._rows[np.asarray(positions, np.int64)])


class Proposals(Mapping[int, np.ndarray]):
    """The proposals of a split by image id, which are read from a file one at a time.

    Args:
        ids: (n,) the ids of the images, in the order of the list.
        arrays: (k, 5) float32 arrays: xyxy in pixels and objectness.

    Attributes:
        arrays: see the argument.
    """

    def __init__(self, ids: Sequence[int], arrays: ProposalList) -> None:
        self._ids = np.array(ids, np.int64)
        self._by_id = np.argsort(self._ids, kind='stable').astype(np.int32)
        self.arrays = arrays

    def __getitem__(self, image_id: int) -> np.ndarray:
        place = int(np.searchsorted(self._ids, image_id, sorter=self._by_id))
        if place < len(self._ids) and self._ids[row := int(self._by_id[place])] == image_id:
            return self.arrays[row]
        raise KeyError(image_id)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())


def load_proposals(
    file: str | os.PathLike,
    image_ids: Sequence[int],
    sizes_wh: Sequence[tuple[int, int] | None],
    is_sorted: bool,
) -> Proposals:
    """Check the proposals of a split, and open them.

    The file is converted once, see :func:`~oadp.data.converted.cache.open_converted`.

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
    order = _order(image_ids, is_sorted)
    ids = [image_ids[i] for i in order]
    convert = functools.partial(_convert, file, ids)
    converted = open_converted(file, dict(format='proposals', version=_VERSION), convert)
    _check_length(file, len(converted.array('first')) - 1, len(ids))
    _check_fit(file, converted.array('extents'), image_ids, sizes_wh, is_sorted)
    return Proposals(ids, ProposalList(converted, np.arange(len(ids), dtype=np.int32)))


def _convert(file: pathlib.Path, ids: Sequence[int], writer: ArrayWriter) -> None:
    """Check the arrays of a file and write them, one at a time."""
    arrays = _checked_list(file, locate_pickled_arrays(file), len(ids))
    lengths, extents = [0], []

    def pieces() -> Iterator[bytes]:
        with file.open('rb') as f:
            for n, (image_id, located) in enumerate(zip(ids, arrays, strict=True)):
                with not_arrays(file):
                    array = located.load(f) if isinstance(located, PickledArray) else located
                array = _checked(_name(file, n, image_id), array)
                lengths.append(len(array))
                extents.append(_extent(array))
                yield array.tobytes()

    writer.add_bytes('boxes', pieces())
    writer.add('first', np.cumsum(lengths, dtype=np.int64))
    writer.add('extents', np.array(extents, np.float32).reshape(-1, 4))


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
    arrays = _checked_list(file, arrays, len(image_ids))
    ids = [image_ids[i] for i in _order(image_ids, is_sorted)]
    checked = [
        _checked(_name(file, n, image_id), array)
        for n, (image_id, array) in enumerate(zip(ids, arrays, strict=True))
    ]
    extents = np.array([_extent(array) for array in checked], np.float32).reshape(-1, 4)
    _check_fit(file, extents, image_ids, sizes_wh, is_sorted)
    return checked


def _order(image_ids: Sequence[int], is_sorted: bool) -> list[int]:
    """Return the positions of the images in the order of the list."""
    positions = range(len(image_ids))
    return sorted(positions, key=lambda i: image_ids[i]) if is_sorted else list(positions)


def _checked_list(file: pathlib.Path, arrays: Any, num_images: int) -> Sequence[Any]:
    if not isinstance(arrays, (list, tuple)):
        raise ValueError(f'{file}: expected a list of arrays, found a {type(arrays).__name__}')
    _check_length(file, len(arrays), num_images)
    return arrays


def _check_length(file: pathlib.Path, length: int, num_images: int) -> None:
    if length != num_images:
        raise ValueError(
            f'{file}: proposals of {length} images, but the annotation file has '
            f'{num_images} images; the two must be of the same split of the same dataset'
        )


def _check_fit(
    file: pathlib.Path,
    extents: np.ndarray,
    image_ids: Sequence[int],
    sizes_wh: Sequence[tuple[int, int] | None],
    is_sorted: bool,
) -> None:
    """Check that no box is far outside its image.

    Args:
        file: path for error messages.
        extents: (n, 4), see ``_extent``, in the order of the list.
        image_ids: see :func:`check_proposals`.
        sizes_wh: see :func:`check_proposals`.
        is_sorted: see :func:`check_proposals`.
    """
    order = _order(image_ids, is_sorted)
    sizes = np.array([size or (np.nan, np.nan) for size in sizes_wh], np.float64).reshape(-1, 2)
    wrong = np.flatnonzero(_overhang(extents, sizes[order]).any(axis=1))
    if len(wrong):
        first = order[wrong[0]]
        x1, y1, x2, y2 = extents[wrong[0]]
        fits = not _overhang(extents, sizes[_order(image_ids, not is_sorted)]).any()
        raise ValueError(
            f'{file}: {len(wrong)} of {len(extents)} images have proposals far outside the image, '
            f'such as image {image_ids[first]} of {sizes_wh[first][0]} × {sizes_wh[first][1]} '  # type: ignore[index]
            f'pixels, whose boxes span ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}); '
            f'{_advice(is_sorted, fits)}'
        )


def _extent(array: np.ndarray) -> np.ndarray:
    """Return the smallest x1, y1 and the largest x2, y2; NaN without boxes, or if any is not finite."""
    if not len(array) or not np.isfinite(array).all():
        return np.full(4, np.nan, np.float32)
    return np.concatenate([array[:, :2].min(axis=0), array[:, 2:4].max(axis=0)])


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
    return _overhang(xyxy, np.asarray(size_wh, np.float64)).any(axis=1)


def _overhang(xyxy: np.ndarray, sizes_wh: np.ndarray) -> np.ndarray:
    """Return which sides of boxes are out of images by more than the tolerance; none where one is NaN."""
    size = np.concatenate([sizes_wh, sizes_wh], axis=-1)
    slack = np.maximum(OVERHANG_PIXELS, OVERHANG_RATIO * size)
    return (xyxy < -slack) | (xyxy > size + slack)


def _name(file: pathlib.Path, n: int, image_id: int) -> str:
    return f'{file}: number {n} of the list, proposals of image {image_id}'


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
