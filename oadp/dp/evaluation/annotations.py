"""Annotations as columns, for the evaluation."""

__all__ = ['Objects', 'read_objects', 'select_images']

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

_IGNORED_AREA = -1.0  # pixels²; outside of all size ranges, so that the object is ignored


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
    segmentations: list[Any] | None


def read_objects(
    annotations: Iterable[Mapping[str, Any]],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    federated: bool,
    masks: bool,
) -> Objects:
    """Return the objects of some images and categories.

    Args:
        annotations: as in the file. ``iscrowd`` defaults to 0, ``area`` to the area of the box.
        image_ids: the ids of the images to keep.
        category_ids: the ids of the categories to keep, by label.
        federated: follow lvis-api, which has no crowds, respects ``ignore`` and excludes objects
            without an area.
        masks: keep the segmentations.
    """
    labels = {category_id: label for label, category_id in enumerate(category_ids)}
    positions = {image_id: i for i, image_id in enumerate(image_ids)}
    kept = [a for a in annotations if a['image_id'] in positions and a['category_id'] in labels]
    if federated:
        kept = [a for a in kept if a.get('area', 1) > 0]
    boxes = np.array([a['bbox'] for a in kept], np.float64).reshape(-1, 4)
    areas = [a.get('area', w * h) for a, (_, _, w, h) in zip(kept, boxes, strict=True)]
    crowd = [bool(a.get('iscrowd', 0)) for a in kept]
    if federated:
        areas = [_IGNORED_AREA if a.get('ignore') else x for a, x in zip(kept, areas, strict=True)]
        crowd = [False] * len(kept)
    has_masks = masks and any(a.get('segmentation') for a in kept)
    return Objects(
        np.array([positions[a['image_id']] for a in kept], np.int64),
        np.array([labels[a['category_id']] for a in kept], np.int64),
        boxes,
        np.array(areas, np.float64),
        np.array(crowd, bool),
        [a.get('segmentation') for a in kept] if has_masks else None,
    )


def select_images(
    images: Mapping[int, Any], image_ids: Collection[int], name: str
) -> dict[int, Any]:
    """Return some of the images, in the order of the file.

    Args:
        images: the records of all images, by id.
        image_ids: the ids of the images to keep.
        name: the name of the file, for the error message.

    Raises:
        ValueError: there are no records of some of the images.
    """
    missing = sorted(set(image_ids) - set(images))
    if missing:
        raise ValueError(
            f'{name}: lacks {len(missing)} of {len(image_ids)} images, such as {missing[:3]}'
        )
    chosen = set(image_ids)
    return {i: image for i, image in images.items() if i in chosen}
