"""The check that every annotation file passes, whole, before it is used.

pycocotools, lvis-api and mmdet believe a file: two annotations of one id, a reference to an image
that is not there or a size of −1 change results in silence, or stop a run hours later with an error
that names no file. Everything that reads annotations passes them through an ``AnnotationCheck``,
which lists all faults in one error. What a file may leave out is filled in, and counted.
"""

__all__ = [
    'AnnotationCheck',
    'AnnotationColumns',
    'Need',
    'Report',
    'not_an_object',
    'read_annotations',
]

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from oadp.categories import Categories
from oadp.data.annotations.columns import Column, Records
from oadp.data.annotations.findings import Finding, Findings
from oadp.data.annotations.lists import CategoryList, ImageList, Need, check_references
from oadp.data.annotations.masks import check_masks
from oadp.utils import runtime
from oadp.utils.json_text import read_json

LISTS = ('images', 'annotations', 'categories')
_AT_ONCE = 4096
"""Records checked together: enough for NumPy, and few enough to be held decoded."""


@dataclasses.dataclass(frozen=True)
class AnnotationColumns:
    """What the n annotations say, in the order of the file.

    Attributes:
        ids, image_ids, category_ids: (n,) int64.
        boxes: (n, 4) float64: x, y, width, height in pixels; NaN where there is none.
        areas: (n,) float64 square pixels; of the box where the file gives none.
        crowd, ignored: (n,) bool: ``iscrowd``, and mmdet's ``ignore``.
    """

    ids: Column
    image_ids: Column
    category_ids: Column
    boxes: Column
    areas: Column
    crowd: Column
    ignored: Column


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        path: the file.
        counts: number of elements by list.
        errors: what makes the file unusable.
        tolerated: what is assumed or left out.
        columns: of the annotations; valid where there are no errors.
        images: the image records, in the order of the file.
    """

    path: pathlib.Path
    counts: Mapping[str, int]
    errors: Findings
    tolerated: Findings
    columns: AnnotationColumns
    images: list[dict[str, Any]]

    def raise_errors(self) -> None:
        """Raise what is wrong.

        Raises:
            ValueError: the file has errors; all are listed, each with a few of the ids concerned.
        """
        if self.errors:
            raise ValueError(self.errors.message(self.path))

    def use(self) -> None:
        """Raise what is wrong, and log in one line what is tolerated. Errors: ``raise_errors``."""
        self.raise_errors()
        if self.tolerated:
            found = ', '.join(map(_briefly, self.tolerated))
            runtime.get_logger().info('%s: tolerated: %s', self.path, found)


def _briefly(finding: Finding) -> str:
    return f'{finding.what}: {finding.count} ({finding.advice})'


class AnnotationCheck:
    """Check a file whose elements are handed over list by list, in any order.

    Args:
        needs: what must be there, beside ids and references: ``file_name``, ``coco_url`` or
            ``any_name`` of images, their ``size``; ``box`` and ``mask`` of annotations; ``lvis``:
            LVIS's lists of absent categories and frequencies; ``annotations``: that list at all.
        categories: a set whose names must all be among the categories.
    """

    def __init__(self, needs: Collection[Need] = (), categories: Categories | None = None) -> None:
        self._needs = frozenset(needs)
        self.errors, self.tolerated = Findings(), Findings()
        self._pending: dict[str, list[Any]] = {name: [] for name in LISTS}
        self._counts = dict.fromkeys(LISTS, 0)
        self._images = ImageList(self._needs, self.errors, self.tolerated)
        self._categories = CategoryList(self._needs, categories, self.errors)
        self._parts: list[AnnotationColumns] = []
        self._num_without_crowd = 0

    def add(self, name: str, record: Any) -> None:
        """Hand over one element of a list; those of other lists are not looked at.

        An annotation whose mask is not needed loses it: most of the memory, and of the time.
        """
        pending = self._pending.get(name)
        if pending is not None:
            if name == 'annotations' and 'mask' not in self._needs and type(record) is dict:
                record.pop('segmentation', None)
            pending.append(record)
            if len(pending) >= _AT_ONCE:
                self._flush(name)

    def add_list(self, name: str, records: list[Any]) -> None:
        """Hand over a whole list. Annotations are completed in place, see ``read_annotations``."""
        for start in range(0, len(records), _AT_ONCE):
            self._pending[name] = records[start : start + _AT_ONCE]
            self._flush(name)

    def _flush(self, name: str) -> None:
        pending, self._pending[name] = self._pending[name], []
        records = Records(name, pending, self._counts[name], self.errors)
        self._counts[name] += len(pending)
        if not len(records):
            return
        if name == 'annotations':
            self._parts.append(self._check_annotations(records))
        else:
            dict(images=self._images, categories=self._categories)[name].add(records)

    def finish(self, path: str | os.PathLike, kinds: Mapping[str, str]) -> Report:
        """Check what concerns the file as a whole.

        Args:
            path: of the file, for the messages.
            kinds: what each key of the file's object has as its value: ``list``, ``dict``, ….
        """
        for name in LISTS:
            self._flush(name)
            required = name == 'images' or 'annotations' in self._needs
            if name not in kinds and required:
                self.errors.add('lists missing', f'expected "{name}": […]', 1, [f'"{name}"'])
            elif kinds.get(name, 'list') != 'list':
                found = f'"{name}" is a {kinds[name]}'
                self.errors.add('values that should be lists', 'expected […]', 1, [found])
        columns = self._columns()
        self._images.finish()
        self._categories.finish()
        category_ids = columns.category_ids
        if 'categories' not in kinds:  # an error already, or of no interest
            category_ids = np.full_like(category_ids, -1)
        references = columns.ids, columns.image_ids, category_ids
        check_references(*references, self._images, self._categories, self.errors)
        if not self._images.is_lvis and not self._categories.is_lvis:  # LVIS has no crowds
            self.tolerated.add('annotations without iscrowd', 'taken as 0', self._num_without_crowd)
        images = self._images.records
        return Report(
            pathlib.Path(path), self._counts, self.errors, self.tolerated, columns, images
        )

    def _columns(self) -> AnnotationColumns:
        empty = AnnotationColumns(
            *np.zeros((3, 0), np.int64), np.zeros((0, 4)), np.zeros(0), *np.zeros((2, 0), bool)
        )
        columns = [dataclasses.astuple(part) for part in self._parts] or [
            dataclasses.astuple(empty)
        ]
        return AnnotationColumns(*map(np.concatenate, zip(*columns, strict=True)))

    def _check_annotations(self, records: Records) -> AnnotationColumns:
        ids, image_ids, category_ids = map(records.integers, ('id', 'image_id', 'category_id'))
        boxes = records.boxes('box' in self._needs)
        areas = records.numbers('area')
        crowd, no_crowd = records.flags('iscrowd')
        self._num_without_crowd += int(no_crowd.sum())
        without_size = np.flatnonzero((boxes[:, 2:] == 0).any(axis=1))
        self.tolerated.add(
            'boxes of no width or height',
            'left out of training',
            len(without_size),
            records.names(without_size),
        )
        areas = self._complete(records, boxes, areas, no_crowd)
        if 'mask' in self._needs:
            heights, widths = self._images.sizes_hw(image_ids)
            self.tolerated.add(
                'polygons of fewer than three points',
                'left out of their masks',
                check_masks(records, heights, widths),
            )
        ignored = np.array([bool(v) for v in records.values('ignore')], bool)
        return AnnotationColumns(ids, image_ids, category_ids, boxes, areas, crowd, ignored)

    def _complete(self, records: Records, boxes: Column, areas: Column, no_crowd: Column) -> Column:
        """Write what annotations leave out into them; returns all areas."""
        for i in np.flatnonzero(no_crowd).tolist():
            records.records[i]['iscrowd'] = 0
        products = boxes[:, 2] * boxes[:, 3]
        missing = [
            i for i in np.flatnonzero(np.isnan(areas)) if records.records[i].get('area') is None
        ]
        missing = [i for i in missing if not np.isnan(products[i])]
        for i in missing:
            records.records[i]['area'] = float(products[i])
        self.tolerated.add(
            'annotations without area', "taken as their box's", len(missing), records.names(missing)
        )
        return np.where(np.isnan(areas), products, areas)


def read_annotations(
    path: str | os.PathLike, needs: Collection[Need] = (), categories: Categories | None = None
) -> tuple[dict[str, Any], AnnotationColumns]:
    """Read an annotation file whole, checked and completed.

    Args:
        path: a file in COCO's or LVIS's format.
        needs, categories: see ``AnnotationCheck``.

    Returns:
        The decoded file, in which each annotation has ``iscrowd`` (0 where the file does not say)
        and ``area`` (that of its box), and its annotations' columns.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; all faults are listed.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path}: no such annotation file; `python -m oadp.build_annotations` makes those of '
            'COCO and LVIS (README, "Annotations")'
        )
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError(not_an_object(path, type(data).__name__))
    check = AnnotationCheck(needs, categories)
    for name in ('images', 'categories', 'annotations'):  # masks are compared with their images
        if isinstance(data.get(name), list):
            check.add_list(name, data[name])
    report = check.finish(path, {key: type(value).__name__ for key, value in data.items()})
    report.use()
    return data, report.columns


def not_an_object(path: str | os.PathLike, found: str) -> str:
    """The message about a file whose outermost value is something else."""
    return (
        f'{path}: expected an object with the lists "images", "annotations" and "categories", '
        f'found a {found}'
    )
