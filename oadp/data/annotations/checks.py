"""Check annotation files as a whole before they are used.

pycocotools, lvis-api and mmdet do not check a file: two annotations with the same id, a reference to a
missing image or a size of −1 change results without an error, or stop a run hours later with an error that
does not name the file. All readers of annotations use an ``AnnotationCheck``, which reports all faults in
one error. Optional values that are missing are filled in and counted.
"""

__all__ = [
    'AnnotationCheck',
    'AnnotationColumns',
    'Need',
    'Report',
    'check_exists',
    'log_tolerated',
    'not_an_object',
]

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from oadp.categories import Categories
from oadp.data.annotations.columns import Column, Records, examples_of
from oadp.data.annotations.findings import Findings
from oadp.data.annotations.lists import CategoryList, ImageList, Need, check_references
from oadp.data.annotations.masks import MaskSizes, check_masks
from oadp.utils import runtime

LISTS = ('images', 'annotations', 'categories')
_AT_ONCE = 4096
"""Number of records checked together: enough for NumPy to be fast, with little memory."""


@dataclasses.dataclass(frozen=True)
class AnnotationColumns:
    """The values of n annotations as columns, in the order of the file.

    Attributes:
        ids: (n,) int64.
        image_ids: (n,) int64.
        category_ids: (n,) int64.
        boxes: (n, 4) float64: x, y, width, height in pixels; NaN for annotations without a box.
        areas: (n,) float64 in square pixels; the area of the box if the file has no area.
        crowd: (n,) bool, ``iscrowd``.
        ignored: (n,) bool, ``ignore`` of mmdet.
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
    """The result of a check.

    Attributes:
        path: path of the file.
        counts: name of a list to its number of elements.
        errors: faults that make the file unusable.
        tolerated: values that are assumed, and elements that are ignored.
        columns: values of the annotations; valid if there are no errors.
        images: the image records, in the order of the file.
    """

    path: pathlib.Path
    counts: Mapping[str, int]
    errors: Findings
    tolerated: Findings
    columns: AnnotationColumns
    images: list[dict[str, Any]]

    def raise_errors(self) -> None:
        """Raise an error if the file has errors.

        Raises:
            ValueError: the file has errors; all are listed, each with a few ids.
        """
        if self.errors:
            raise ValueError(self.errors.message(self.path))

    def use(self) -> None:
        """Raise an error as ``raise_errors`` does, and log what is tolerated in one line."""
        self.raise_errors()
        log_tolerated(self.path, self.tolerated.summary())


def log_tolerated(path: str | os.PathLike, tolerated: str) -> None:
    """Log the summary of what is tolerated, if it is not empty."""
    if tolerated:
        runtime.get_logger().info('%s: tolerated: %s', path, tolerated)


class AnnotationCheck:
    """Check a file whose elements are added one by one or as lists, in any order.

    Args:
        needs: required values in addition to ids and references: ``file_name``, ``coco_url`` or
            ``any_name`` of images, their ``size``; ``box`` and ``mask`` of annotations; ``lvis``:
            LVIS's lists of absent categories and frequencies; ``annotations``: the list itself.
        categories: a set whose names must all be in the file; None for no such check.
    """

    def __init__(self, needs: Collection[Need] = (), categories: Categories | None = None) -> None:
        self._needs = frozenset(needs)
        self.errors, self.tolerated = Findings(), Findings()
        self._pending: dict[str, list[Any]] = {name: [] for name in LISTS}
        self._counts = dict.fromkeys(LISTS, 0)
        self._images = ImageList(self._needs, self.errors, self.tolerated)
        self._categories = CategoryList(self._needs, categories, self.errors)
        self._parts: list[AnnotationColumns] = []
        self._mask_sizes = MaskSizes([], [])
        self._num_without_crowd = 0

    def add(self, name: str, record: Any) -> None:
        """Add one element of a list; elements of other lists are ignored.

        Masks that are not needed are removed from annotations to save most of the memory and time.
        """
        pending = self._pending.get(name)
        if pending is not None:
            if name == 'annotations' and 'mask' not in self._needs and type(record) is dict:
                record.pop('segmentation', None)
            pending.append(record)
            if len(pending) >= _AT_ONCE:
                self._flush(name)

    def add_list(self, name: str, records: list[Any]) -> None:
        """Add records of one of the lists."""
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
            (self._images if name == 'images' else self._categories).add(records)

    def finish(self, path: str | os.PathLike, kinds: Mapping[str, str]) -> Report:
        """Check the file as a whole.

        Args:
            path: path of the file, for messages.
            kinds: key of the file's object to the type of its value: ``list``, ``dict``, ….
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
        self._compare_sizes(columns)
        self._images.finish()
        self._categories.finish()
        category_ids = columns.category_ids
        if 'categories' not in kinds:  # already an error, or not needed
            category_ids = np.full_like(category_ids, -1)
        references = columns.ids, columns.image_ids, category_ids
        check_references(*references, self._images, self._categories, self.errors)
        if not self._images.is_lvis and not self._categories.is_lvis:  # LVIS has no crowds
            self.tolerated.add('annotations without iscrowd', 'taken as 0', self._num_without_crowd)
        images = self._images.records
        return Report(
            pathlib.Path(path), self._counts, self.errors, self.tolerated, columns, images
        )

    def _compare_sizes(self, columns: AnnotationColumns) -> None:
        """Compare the sizes of run lengths with those of their images, which may be listed later."""
        positions = np.array(self._mask_sizes.positions, np.int64)
        said = np.array(self._mask_sizes.sizes_hw, np.int64).reshape(-1, 2)
        sizes = self._images.sizes_hw(columns.image_ids[positions]).T
        wrong = positions[(sizes != -1).all(axis=1) & (sizes != said).any(axis=1)]
        self.errors.add(
            "annotations whose segmentation differs from the size of the annotation's image",
            'expected "size": [height, width] of the image',
            len(wrong),
            examples_of('annotations', columns.ids, wrong),
        )

    def _columns(self) -> AnnotationColumns:
        ids, flags = np.zeros(0, np.int64), np.zeros(0, bool)
        empty = AnnotationColumns(ids, ids, ids, np.zeros((0, 4)), np.zeros(0), flags, flags)
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
            'boxes without width or height',
            'left out of training',
            len(without_size),
            records.names(without_size),
        )
        areas = self._fill_areas(records, boxes, areas)
        if 'mask' in self._needs:
            num_dropped, sizes = check_masks(records)
            what = 'polygons of fewer than three points'
            self.tolerated.add(what, 'left out of their masks', num_dropped)
            start = sum(len(part.ids) for part in self._parts)
            self._mask_sizes.positions.extend(start + i for i in sizes.positions)
            self._mask_sizes.sizes_hw.extend(sizes.sizes_hw)
        ignored = np.array([bool(v) for v in records.values('ignore')], bool)
        return AnnotationColumns(ids, image_ids, category_ids, boxes, areas, crowd, ignored)

    def _fill_areas(self, records: Records, boxes: Column, areas: Column) -> Column:
        """Return the areas, of the boxes where the file has none."""
        products = boxes[:, 2] * boxes[:, 3]
        missing = [
            i
            for i in np.flatnonzero(np.isnan(areas) & ~np.isnan(products)).tolist()
            if records.records[i].get('area') is None
        ]
        self.tolerated.add(
            'annotations without area', "taken as their box's", len(missing), records.names(missing)
        )
        return np.where(np.isnan(areas), products, areas)


def check_exists(path: str | os.PathLike) -> None:
    """Check that an annotation file exists.

    Raises:
        FileNotFoundError: it does not.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path}: no such annotation file; `python -m oadp.build_annotations` makes those of '
            'COCO and LVIS (README, "Annotations")'
        )


def not_an_object(path: str | os.PathLike, found: str) -> str:
    """Return the message for a file whose outermost value is not an object."""
    return (
        f'{path}: expected an object with the lists "images", "annotations" and "categories", '
        f'found a {found}'
    )
