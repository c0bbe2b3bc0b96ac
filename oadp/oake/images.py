"""Which images a split has, where they lie, and what is proposed in them.

Only the annotation file's list of images is decoded and kept: the annotations beside it would take
gigabytes.
"""

__all__ = ['DATASET_TYPES', 'ImageInfo', 'load_images', 'load_proposals']

import dataclasses
import mmap
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import compat
from ..annotation_file import iterate_lists


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """An image of a split.

    Attributes:
        id: as in the annotation file.
        file: where it lies.
        size_wh: width and height in pixels as the annotation file says; None where it does not.
    """

    id: int
    file: pathlib.Path
    size_wh: tuple[int, int] | None


def _coco_name(image: dict[str, Any]) -> str:
    return image['file_name']


def _lvis_name(image: dict[str, Any]) -> str:
    """LVIS takes COCO's images of both splits: the folder and name are the end of the address."""
    return '/'.join(image['coco_url'].split('/')[-2:])


_NAMES: dict[str, Callable[[dict[str, Any]], str]] = dict(COCO=_coco_name, LVIS=_lvis_name)
DATASET_TYPES = tuple(_NAMES)


def load_images(
    ann_file: str | os.PathLike, root: str | os.PathLike, dataset_type: str = 'COCO'
) -> list[ImageInfo]:
    """Read the images of a split, in the order of the annotation file.

    Args:
        ann_file: annotations in COCO's or LVIS's format.
        root: the folder that image names are relative to.
        dataset_type: ``COCO``: names are ``file_name``; ``LVIS``: the last two parts of
            ``coco_url``.

    Raises:
        FileNotFoundError: no annotation file or no folder.
        ValueError: not an annotation file, an unknown type, or an id twice.
    """
    if dataset_type not in _NAMES:
        raise ValueError(f'unknown dataset type {dataset_type!r}; choose from {DATASET_TYPES}')
    ann_file, root = pathlib.Path(ann_file), pathlib.Path(root)
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file}: no such annotation file (README, "Datasets")')
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder of images (README, "Datasets")')
    try:
        images = [
            ImageInfo(
                id=image['id'],
                file=root / _NAMES[dataset_type](image),
                size_wh=(image['width'], image['height']) if 'width' in image else None,
            )
            for image in _image_records(ann_file)
        ]
    except (ValueError, KeyError, TypeError, IndexError) as e:
        raise ValueError(
            f'{ann_file}: not an annotation file of type {dataset_type} ({type(e).__name__}: {e}); '
            'expected "images" with "id" and a file name'
        ) from e
    if not images:
        raise ValueError(f'{ann_file}: no image in it')
    if len({image.id for image in images}) != len(images):
        raise ValueError(f'{ann_file}: {len(images)} images, but some have the same id')
    return images


def _image_records(ann_file: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The elements of ``images``; what comes behind them in the file is not decoded."""
    with ann_file.open('rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        text = str(content, 'utf-8')
    found = False
    for key, record, _, _ in iterate_lists(text):
        if key == 'images':
            found = True
            yield record
        elif found:
            return


def load_proposals(
    file: str | os.PathLike, images: list[ImageInfo], is_sorted: bool
) -> dict[int, np.ndarray]:
    """Read the proposals of a split.

    Args:
        file: pickled list of (n, 5) float arrays: xyxy in pixels of the image, objectness.
        images: of the split, in the order of its annotation file.
        is_sorted: the list is in the order of ascending image id, instead of that of ``images``.

    Returns:
        (n, 5) float32 arrays by image id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a list, or not as long as there are images.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise FileNotFoundError(f'{file}: no such file of proposals (README, "Proposals")')
    arrays = compat.load_pickled_arrays(file)
    if not isinstance(arrays, (list, tuple)):
        raise ValueError(f'{file}: expected a list of arrays, found a {type(arrays).__name__}')
    if len(arrays) != len(images):
        raise ValueError(
            f'{file}: proposals of {len(arrays)} images, but the annotation file has {len(images)} '
            'images; the two must be of the same split of the same dataset'
        )
    ids = [image.id for image in images]
    if is_sorted:
        ids.sort()
    for image_id, array in zip(ids, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 5:
            found = getattr(array, 'shape', type(array).__name__)
            raise ValueError(
                f'{file}: proposals of image {image_id}: expected an (n, 5) array of x1, y1, x2, '
                f'y2, objectness, found {found}'
            )
    return {i: np.asarray(a, dtype=np.float32) for i, a in zip(ids, arrays, strict=True)}
