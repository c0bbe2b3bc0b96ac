"""Annotations as columns, for the evaluation.

Masks are most of a file, and ``bbox`` metrics do not need them, so that segmentations are decoded when they
are indexed.
"""

__all__ = ['Objects', 'Segmentations', 'read_objects', 'select_images']

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oadp.data.annotations.checks import AnnotationColumns
from oadp.data.annotations.columns import positions_of
from oadp.data.annotations.table import AnnotationTable

_IGNORED_AREA = -1.0  # pixels²; outside of all size ranges, so that the object is ignored


class Segmentations(Sequence[Any]):
    """The segmentations of some annotations, decoded at each access.

    Args:
        annotation: returns the record in a row.
        rows: (n,) the rows of the annotations.
    """

    def __init__(self, annotation: Callable[[int], Mapping[str, Any]], rows: np.ndarray) -> None:
        self._annotation = annotation
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """Return a segmentation as in the file, or None; those of a slice as a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._annotation(int(self._rows[index])).get('segmentation')


class Objects(NamedTuple):
    """Annotated objects, one per row.

    Attributes:
        images: (n,) int64, positions in :attr:`GroundTruth.image_ids`.
        labels: (n,) int64.
        boxes: (n, 4) float64 xywh in pixels.
        areas: (n,) float64 in pixels², of the mask if there is one, else of the box.
        crowd: (n,) bool, groups of objects; detections that match them are ignored.
        segmentations: n polygons or run-length encodings, as in the file; None without masks.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    segmentations: Sequence[Any] | None


def read_objects(
    source: AnnotationTable | Mapping[str, Any],
    image_ids: np.ndarray,
    category_ids: Sequence[int],
    federated: bool,
    masks: bool,
) -> Objects:
    """Return the objects of some images and categories.

    Args:
        source: a table, whose annotations have boxes; or decoded content, where ``iscrowd`` defaults to 0,
            and ``area`` to the area of the box.
        image_ids: (m,) the ids of the images to keep, ascending.
        category_ids: the ids of the categories to keep, by label.
        federated: follow lvis-api, which has no crowds, respects ``ignore`` and excludes objects
            without an area.
        masks: keep the segmentations.
    """
    record: Callable[[int], Mapping[str, Any]]
    if isinstance(source, AnnotationTable):
        columns, record = source.columns, source.annotation
    else:
        columns, record = _columns(source['annotations']), source['annotations'].__getitem__
    areas, crowd = columns.areas, columns.crowd
    kept = np.isin(columns.image_ids, image_ids) & np.isin(columns.category_ids, category_ids)
    if federated:
        kept &= areas > 0
        areas, crowd = np.where(columns.ignored, _IGNORED_AREA, areas), np.zeros_like(crowd)
    rows = np.flatnonzero(kept)
    segmentations = Segmentations(record, rows) if masks else ()
    return Objects(
        np.searchsorted(image_ids, columns.image_ids[rows]),
        positions_of(columns.category_ids[rows], np.array(category_ids, np.int64)),
        columns.boxes[rows],
        areas[rows],
        crowd[rows],
        segmentations if any(segmentations) else None,
    )


def _columns(annotations: Sequence[Mapping[str, Any]]) -> AnnotationColumns:
    boxes = np.array([a['bbox'] for a in annotations], np.float64).reshape(-1, 4)
    areas = [a.get('area', w * h) for a, (_, _, w, h) in zip(annotations, boxes, strict=True)]
    return AnnotationColumns(
        ids=np.arange(len(annotations)),
        image_ids=np.array([a['image_id'] for a in annotations], np.int64),
        category_ids=np.array([a['category_id'] for a in annotations], np.int64),
        boxes=boxes,
        areas=np.array(areas, np.float64),
        crowd=np.array([bool(a.get('iscrowd')) for a in annotations], bool),
        ignored=np.array([bool(a.get('ignore')) for a in annotations], bool),
    )


def select_images(known: Sequence[int], image_ids: Collection[int], name: str) -> list[int]:
    """Return the positions of some of the images, in the order of the file.

    Args:
        known: the ids of all images, in the order of the file.
        image_ids: the ids of the images to keep.
        name: the name of the file, for the error message.

    Raises:
        ValueError: some of the images are not known.
    """
    chosen = set(image_ids)
    missing = sorted(chosen.difference(known))
    if missing:
        raise ValueError(
            f'{name}: lacks {len(missing)} of {len(image_ids)} images, such as {missing[:3]}'
        )
    return [i for i, image_id in enumerate(known) if image_id in chosen]
