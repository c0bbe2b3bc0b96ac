"""Annotations as arrays that all processes of a machine share.

Decoded, the annotations of COCO take 2 GB and those of LVIS 3 GB in each process, and their objects are
copied in every worker that touches them. A table keeps numbers as arrays in a mapped file, and the
records as JSON text in the same file, which is read and decoded one record at a time.
"""

__all__ = ['AnnotationTable', 'DecodedRecords', 'open_annotations']

import functools
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, overload

import numpy as np

from oadp.categories import Categories
from oadp.data.annotations.checks import AnnotationColumns, check_exists, log_tolerated
from oadp.data.annotations.columns import Records
from oadp.data.annotations.conversion import VERSION, convert_annotations
from oadp.data.annotations.findings import Findings
from oadp.data.annotations.lists import CategoryList, Need
from oadp.data.converted.array_file import ArrayFile
from oadp.data.converted.cache import open_converted

Record = dict[str, Any]


class DecodedRecords(Sequence[Record]):
    """Some records of a list, decoded at each access.

    A change of a decoded record is not kept. To change one, assign it: ``records[i] = record``.

    Args:
        decode: returns the record of a row.
        rows: (n,) the rows of the records.

    Attributes:
        rows: (n,) int32.
    """

    def __init__(self, decode: Callable[[int], Record], rows: np.ndarray) -> None:
        self._decode = decode
        self.rows = np.asarray(rows, np.int32)
        self._assigned: dict[int, Record] = {}  # by position

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        if position in self._assigned:
            return self._assigned[position]
        return self._decode(int(self.rows[position]))

    def __setitem__(self, index: int, record: Record) -> None:
        self._assigned[range(len(self))[index]] = record

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: Sequence[Record]) -> list[Record]:
        return [*self, *other]

    def __radd__(self, other: Sequence[Record]) -> list[Record]:
        return [*other, *self]

    def select(self, positions: Sequence[int] | np.ndarray) -> 'DecodedRecords':
        """Return the records of some positions, which are decoded at each access as well."""
        chosen = DecodedRecords(self._decode, self.rows[np.asarray(positions, np.int64)])
        if self._assigned:
            pairs = enumerate(np.asarray(positions).tolist())
            chosen._assigned = {i: self._assigned[p] for i, p in pairs if p in self._assigned}
        return chosen


class AnnotationTable:
    """An annotation file, whose rows are the positions in its lists.

    Args:
        file: as ``convert_annotations`` writes it.

    Attributes:
        columns: the values of the n annotations.
        image_ids: (m,) int64, ids of the images.
        sizes_wh: (m, 2) int64, width and height of the images in pixels; −1 if unknown.
        categories: the records of the categories.
        tolerated: what is assumed and left out, in one line; may be empty.
    """

    def __init__(self, file: ArrayFile) -> None:
        self._file = file
        meta = json.loads(bytes(file.read('meta', 0, file.size('meta'))))
        self.tolerated: str = meta['tolerated']
        self.categories: list[Record] = meta['categories']
        self._keys: list[str] = meta['keys']
        self._others: Record = meta['others']
        names = AnnotationColumns.__dataclass_fields__
        self.columns = AnnotationColumns(**{name: file.array(name) for name in names})
        self.image_ids = file.array('images')
        self.sizes_wh = file.array('sizes_wh')
        self._annotations_by_id = file.array('annotations_by_id')
        self._annotations_by_image = file.array('annotations_by_image')
        self._first_by_image = file.array('first_by_image')
        self._images_by_id = file.array('images_by_id')
        self._annotation_ends = file.array('annotation_ends')
        self._image_ends = file.array('image_ends')

    def __reduce__(self) -> tuple[Any, ...]:
        return AnnotationTable, (self._file,)

    def image(self, row: int) -> Record:
        """Decode the record of an image."""
        return self._decode('image_texts', self._image_ends, row)

    def annotation(self, row: int) -> Record:
        """Decode the record of an annotation; ``iscrowd`` defaults to 0, ``area`` to that of the box."""
        record = self._decode('annotation_texts', self._annotation_ends, row)
        if record.get('iscrowd') is None:
            record['iscrowd'] = 0
        if record.get('area') is None and not np.isnan(area := self.columns.areas[row]):
            record['area'] = float(area)
        return record

    def _decode(self, name: str, ends: np.ndarray, row: int) -> Record:
        start = int(ends[row - 1]) if row else 0
        return json.loads(self._file.read(name, start, int(ends[row])))

    def image_row(self, image_id: int) -> int:
        """Return the row of an image.

        Raises:
            KeyError: there is no such image.
        """
        return _find(self.image_ids, self._images_by_id, image_id)

    def annotation_row(self, annotation_id: int) -> int:
        """Return the row of an annotation.

        Raises:
            KeyError: there is no such annotation.
        """
        return _find(self.columns.ids, self._annotations_by_id, annotation_id)

    def rows_of_image(self, image_id: int) -> np.ndarray:
        """Return the rows of an image's annotations, in the order of the file.

        Raises:
            KeyError: there is no such image.
        """
        row = self.image_row(image_id)
        first, last = self._first_by_image[row : row + 2]
        return self._annotations_by_image[first:last]

    def content(self, image: Callable[[int], Record] | None = None) -> dict[str, Any]:
        """Return the content of the file; records are decoded at each access.

        Args:
            image: returns the record of an image; :meth:`image` by default.
        """
        lists = dict(
            images=DecodedRecords(image or self.image, np.arange(len(self.image_ids))),
            annotations=DecodedRecords(self.annotation, np.arange(len(self.columns.ids))),
            categories=self.categories,
        )
        values = {**self._others, **lists}
        return {key: values[key] for key in self._keys}

    def has_categories(self, category_ids: Collection[int]) -> np.ndarray:
        """Return whether each image has an annotation of some categories: (m,) bool."""
        chosen = np.isin(self.columns.category_ids, list(category_ids))
        return np.isin(self.image_ids, self.columns.image_ids[chosen])


def _find(ids: np.ndarray, by_id: np.ndarray, wanted: int) -> int:
    place = int(np.searchsorted(ids, wanted, sorter=by_id))
    if place < len(ids) and ids[row := int(by_id[place])] == wanted:
        return row
    raise KeyError(wanted)


def open_annotations(
    path: str | os.PathLike, needs: Collection[Need] = (), categories: Categories | None = None
) -> AnnotationTable:
    """Check an annotation file and convert it, once, to arrays: see ``open_converted``.

    Args:
        path: a file in COCO's or LVIS's format.
        needs: see ``AnnotationCheck``.
        categories: see ``AnnotationCheck``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has faults; all are listed.
    """
    check_exists(path)
    settings = dict(format='annotations', version=VERSION, needs=sorted(needs))
    convert = functools.partial(convert_annotations, path, needs, categories)
    table = AnnotationTable(open_converted(path, settings, convert))
    _check_categories(path, table.categories, needs, categories)
    log_tolerated(path, table.tolerated)
    return table


def _check_categories(
    path: str | os.PathLike,
    records: list[Record],
    needs: Collection[Need],
    categories: Categories | None,
) -> None:
    """Compare with the set, which may be another one than at the conversion."""
    errors = Findings()
    check = CategoryList(needs, categories, errors)
    check.add(Records('categories', records, 0, errors))
    check.finish()
    if errors:
        raise ValueError(errors.message(path))
