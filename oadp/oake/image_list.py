"""Read the list of images of a split.

Annotations are checked one at a time and not kept, since they would take gigabytes of memory.
"""

__all__ = ['DATASET_TYPES', 'ImageInfo', 'load_images']

import dataclasses
import os
import pathlib
from typing import Any

from oadp.data.annotations.file import read_images
from oadp.data.annotations.lists import Need, image_name


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """An image of a split.

    Attributes:
        id: as in the annotation file.
        file: path of the image.
        size_wh: width and height in pixels as in the annotation file; None if they are missing.
    """

    id: int
    file: pathlib.Path
    size_wh: tuple[int, int] | None


_NAME_KEYS: dict[str, Need] = dict(COCO='file_name', LVIS='coco_url')
DATASET_TYPES = tuple(_NAME_KEYS)


def load_images(
    ann_file: str | os.PathLike, root: str | os.PathLike, dataset_type: str = 'COCO'
) -> list[ImageInfo]:
    """Read the images of a split, in the order of the annotation file.

    Args:
        ann_file: annotations in COCO's or LVIS's format.
        root: folder that contains the images.
        dataset_type: ``COCO``: the name of an image is its ``file_name``; ``LVIS``: the last two parts of
            its ``coco_url``.

    Raises:
        FileNotFoundError: no annotation file or no folder.
        ValueError: unknown type, or errors in the file; all errors are listed.
    """
    if dataset_type not in _NAME_KEYS:
        raise ValueError(f'unknown dataset type {dataset_type!r}; choose from {DATASET_TYPES}')
    ann_file, root = pathlib.Path(ann_file), pathlib.Path(root)
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file}: no such annotation file (README, "Datasets")')
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder of images (README, "Datasets")')
    key = _NAME_KEYS[dataset_type]
    return [
        ImageInfo(
            id=image['id'],
            file=root / image_name(image, key),
            size_wh=(image['width'], image['height']) if _has_size(image) else None,
        )
        for image in read_images(ann_file, {key})
    ]


def _has_size(image: dict[str, Any]) -> bool:
    return image.get('width') is not None and image.get('height') is not None
