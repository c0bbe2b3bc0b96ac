"""The interfaces of pycocotools and lvis-api to a table of annotations.

mmdet, its tools and users' code read ``dataset.coco``. Here its dictionaries decode a record when it is
asked for, so that an index takes no time to build and no memory.
"""

__all__ = ['COCOIndex', 'ImageRecord', 'LVISIndex']

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from lvis import LVIS
from mmdet.datasets.api_wrappers import COCO

from oadp.data.annotations.lists import image_name
from oadp.data.annotations.table import AnnotationTable, Record


class ImageRecord:
    """Decode the record of an image, with the key ``filename`` of mmdet.

    Args:
        table: the annotations.
        name_key: see :func:`~oadp.data.annotations.lists.image_name`.
    """

    def __init__(self, table: AnnotationTable, name_key: str) -> None:
        self._table = table
        self._name_key = name_key

    def __call__(self, row: int) -> Record:
        """Return the record in a row of the table."""
        record = self._table.image(row)
        record['filename'] = image_name(record, self._name_key)
        return record


class _ById(Mapping[int, Record]):
    """Records by id, in the order of the file."""

    def __init__(
        self, ids: np.ndarray, row: Callable[[int], int], decode: Callable[[int], Record]
    ) -> None:
        self._ids, self._row, self._decode = ids, row, decode

    def __getitem__(self, key: int) -> Record:
        return self._decode(self._row(key))

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())


class _ByKey(Mapping[int, list[Any]]):
    """Lists of all annotations by one of their ids, where an unknown id has an empty list."""

    def __init__(self, column: np.ndarray, values: Callable[[int], list[Any]]) -> None:
        self._column, self._values = column, values

    @functools.cached_property
    def _keys(self) -> list[int]:
        keys, first = np.unique(self._column, return_index=True)
        return keys[np.argsort(first)].tolist()

    def __getitem__(self, key: int) -> list[Any]:
        return self._values(key)

    def __contains__(self, key: object) -> bool:
        return bool(self._values(key))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)


class _Index:
    """What both indices have.

    Attributes:
        anns, imgs: records by id.
        cats: records of the categories by id.
        img_ann_map: the annotations of each image.
        cat_img_map: the image id of each annotation, by category.
    """

    def __init__(self, table: AnnotationTable, image: ImageRecord) -> None:
        self._table, self._image = table, image
        columns = table.columns
        self.anns = _ById(columns.ids, table.annotation_row, table.annotation)
        self.imgs = _ById(table.image_ids, table.image_row, image)
        self.cats = {category['id']: category for category in table.categories}
        self.img_ann_map = _ByKey(columns.image_ids, self._annotations)
        self.cat_img_map = _ByKey(columns.category_ids, self._images)

    @functools.cached_property
    def dataset(self) -> dict[str, Any]:
        """The whole file, decoded when this is first asked for: gigabytes for COCO's training split."""
        content = self._table.content(self._image)
        return content | {key: list(content[key]) for key in ('images', 'annotations')}

    def _annotations(self, image_id: int) -> list[Record]:
        try:
            rows = self._table.rows_of_image(image_id)
        except KeyError:
            return []
        return [self._table.annotation(row) for row in rows.tolist()]

    def _images(self, category_id: int) -> list[int]:
        columns = self._table.columns
        return columns.image_ids[columns.category_ids == category_id].tolist()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._table, self._image)


class COCOIndex(_Index, COCO):
    """pycocotools's index, with the names that mmdet adds."""

    def __init__(self, table: AnnotationTable, image: ImageRecord) -> None:
        _Index.__init__(self, table, image)
        self.imgToAnns, self.catToImgs = self.img_ann_map, self.cat_img_map


class LVISIndex(_Index, LVIS):
    """The index of lvis-api."""

    def __init__(self, table: AnnotationTable, image: ImageRecord) -> None:
        _Index.__init__(self, table, image)
        self.logger = logging.getLogger('lvis.lvis')
