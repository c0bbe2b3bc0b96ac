"""Read the list of images of a split.

The annotation file is checked and converted once, and all processes of a machine share the result.
"""

__all__ = ['DATASET_TYPES', 'ImageInfo', 'ImageList', 'load_images']

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from oadp.data.annotations.image_table import ImageTable, open_images
from oadp.data.annotations.lists import Need


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


class ImageList(Sequence[ImageInfo]):
    """The images of a split, each made of shared arrays when it is read.

    Args:
        table: of the annotation file.
        root: folder that contains the images.
    """

    def __init__(self, table: ImageTable, root: pathlib.Path) -> None:
        self._table = table
        self._root = root

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        """Return the image of a position; those of a slice as a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return ImageInfo(
            id=int(self._table.ids[row]),
            file=self._root / self._table.name(row),
            size_wh=self._table.size_wh(row),
        )


_NAME_KEYS: dict[str, Need] = dict(COCO='file_name', LVIS='coco_url')
DATASET_TYPES = tuple(_NAME_KEYS)


def load_images(
    ann_file: str | os.PathLike, root: str | os.PathLike, dataset_type: str = 'COCO'
) -> ImageList:
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
    return ImageList(open_images(ann_file, _NAME_KEYS[dataset_type]), root)
