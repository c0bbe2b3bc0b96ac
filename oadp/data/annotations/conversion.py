"""Convert an annotation file to the arrays of a table, checking it on the way.

The file is decoded one element at a time, and the text of an annotation is copied to the result as soon
as it is checked: besides the text of the file, only numbers and the records of the images are in memory.
"""

__all__ = ['VERSION', 'add_images', 'convert_annotations']

import array
import json
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from oadp.categories import Categories
from oadp.data.annotations.checks import LISTS, AnnotationCheck, Report
from oadp.data.annotations.columns import positions_of
from oadp.data.annotations.file import elements
from oadp.data.annotations.lists import Need
from oadp.data.converted.array_file import ArrayWriter
from oadp.utils.json_text import read_text

VERSION = 1
"""Increase this when the arrays or the checks change, so that files are converted and checked again."""

_AT_ONCE = 4096  # records checked together, see AnnotationCheck


def convert_annotations(
    path: str | os.PathLike,
    needs: Collection[Need],
    categories: Categories | None,
    writer: ArrayWriter,
) -> None:
    """Check an annotation file and write the arrays of an ``AnnotationTable``.

    Args:
        path: a file in COCO's or LVIS's format.
        needs: see ``AnnotationCheck``.
        categories: see ``AnnotationCheck``.
        writer: where to write.

    Raises:
        ValueError: the file has faults; all are listed.
    """
    parts = _Parts(path, needs, categories)
    writer.add_bytes('annotation_texts', parts.annotation_texts())
    report = parts.finish()
    report.raise_errors()
    writer.add_bytes('image_texts', parts.image_texts)
    meta = dict(
        tolerated=report.tolerated.summary(),
        categories=parts.categories,
        keys=list(parts.kinds),
        others=parts.others,
    )
    writer.add_bytes('meta', [json.dumps(meta).encode()])
    writer.add('annotation_ends', np.frombuffer(parts.annotation_ends, np.int64))
    writer.add('image_ends', np.cumsum([len(t) for t in parts.image_texts], dtype=np.int64))
    for name, column in vars(report.columns).items():
        writer.add(name, column)
    _add_indices(writer, report)


def _add_indices(writer: ArrayWriter, report: Report) -> None:
    columns = report.columns
    image_ids = add_images(writer, report.images)
    writer.add('images_by_id', np.argsort(image_ids, kind='stable').astype(np.int32))
    writer.add('annotations_by_id', np.argsort(columns.ids, kind='stable').astype(np.int32))
    rows = positions_of(columns.image_ids, image_ids)
    by_image = np.argsort(rows, kind='stable')
    writer.add('annotations_by_image', by_image.astype(np.int32))
    firsts = np.searchsorted(rows[by_image], np.arange(len(image_ids) + 1))
    writer.add('first_by_image', firsts.astype(np.int64))


def add_images(writer: ArrayWriter, images: Sequence[dict[str, Any]]) -> np.ndarray:
    """Write ids and sizes of checked records of images; return the ids."""
    image_ids = np.array([image['id'] for image in images], np.int64)
    sizes = [(image.get('width'), image.get('height')) for image in images]
    known = [size if None not in size else (-1, -1) for size in sizes]
    writer.add('images', image_ids)
    writer.add('sizes_wh', np.array(known, np.int64).reshape(-1, 2))
    return image_ids


class _Parts:
    """The parts of an annotation file, checked while they are read.

    Attributes:
        kinds: the keys of the file, to the types of their values.
        others: the values other than images, annotations and categories.
        categories: the records of the categories.
        image_texts: the JSON text of each image.
        annotation_ends: the end of each text among the annotations'.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        needs: Collection[Need],
        categories: Categories | None,
    ) -> None:
        self._path = path
        self._text = read_text(path)
        self._check = AnnotationCheck(needs, categories)
        self.kinds: dict[str, str] = {}
        self.others: dict[str, Any] = {}
        self.categories: list[Any] = []
        self.image_texts: list[bytes] = []
        self.annotation_ends = array.array('q')

    def annotation_texts(self) -> Iterator[bytes]:
        """Read and check the file; yield the JSON text of each annotation."""
        pending: dict[str, list[tuple[Any, int, int]]] = {name: [] for name in LISTS}
        for key, value, *span in elements(self._path, self._text, self.kinds, self.others):
            if key not in pending:
                self.others.setdefault(key, []).append(value)
                continue
            pending[key].append((value, *span))
            if len(pending[key]) == _AT_ONCE:
                yield from self._take(key, pending[key])
        for key, batch in pending.items():
            yield from self._take(key, batch)

    def _take(self, key: str, batch: list[tuple[Any, int, int]]) -> Iterator[bytes]:
        """Check and empty a batch; yield the texts of annotations."""
        records = [record for record, *_ in batch]
        masks = [r.get('segmentation') for r in records if isinstance(r, dict)]
        self._check.add_list(key, records)
        if key == 'categories':
            self.categories += records
        elif not self._check.errors:
            texts = [self._text[start:end].encode() for _, start, end in batch]
            if key == 'images':
                self.image_texts += texts
            else:
                yield from self._complete(records, masks, texts)
        batch.clear()

    def _complete(
        self, records: list[dict[str, Any]], masks: list[Any], texts: list[bytes]
    ) -> Iterator[bytes]:
        """Yield the texts of annotations, without the polygons that the check removed."""
        end = self.annotation_ends[-1] if self.annotation_ends else 0
        for record, mask, text in zip(records, masks, texts, strict=True):
            if record.get('segmentation') is not mask:
                text = json.dumps(record).encode()
            end += len(text)
            self.annotation_ends.append(end)
            yield text

    def finish(self) -> Report:
        """Check the file as a whole, after all texts."""
        for key, kind in self.kinds.items():
            if kind == 'list' and key not in LISTS:
                self.others.setdefault(key, [])
        self._text = ''
        return self._check.finish(self._path, self.kinds)
