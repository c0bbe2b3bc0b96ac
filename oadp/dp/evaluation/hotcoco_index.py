"""Pass objects and detections to hotcoco, with ids from 1: positions of images and labels, plus 1."""

__all__ = ['index_objects', 'load_detections']

from collections.abc import Sequence
from typing import Any

import hotcoco
import numpy as np

from oadp.dp.evaluation.annotations import Objects
from oadp.dp.evaluation.detections import Detections


def index_objects(
    images: Sequence[dict[str, Any]],
    categories: Sequence[tuple[str, str | None]],
    objects: Objects,
    with_masks: bool,
) -> hotcoco.COCO:
    """Return hotcoco's index of objects.

    Args:
        images: ``id``, ``width`` and ``height`` of each image; on LVIS also ``neg_category_ids``
            and ``not_exhaustive_category_ids``.
        categories: (C) pairs of a name and its frequency, which is None outside of LVIS.
        objects: of the images.
        with_masks: include the segmentations.
    """
    infos = [
        dict(id=i, name=name, **({'frequency': frequency} if frequency else {}))
        for i, (name, frequency) in enumerate(categories, start=1)
    ]
    return hotcoco.COCO.from_arrays(
        list(images),
        infos,
        objects.images + 1,
        objects.labels + 1,
        objects.boxes,
        area=objects.areas,
        iscrowd=objects.crowd,
        segmentation=list(objects.segmentations or ()) if with_masks else None,
    )


def load_detections(
    truth: hotcoco.COCO,
    detections: Detections,
    images: np.ndarray,
    with_masks: bool,
    federated: bool,
) -> hotcoco.COCO:
    """Return detections in the form that hotcoco matches with an index.

    Args:
        truth: of :func:`index_objects`.
        detections: N detections of its images.
        images: (N,) the positions of their images.
        with_masks: include the masks.
        federated: follow lvis-api.
    """
    rows = np.empty((len(detections.labels), 7))
    rows[:, 0] = images + 1
    rows[:, 1:5] = detections.boxes
    rows[:, 3:5] -= rows[:, 1:3]
    rows[:, 5] = detections.scores
    rows[:, 6] = detections.labels + 1
    masks = None
    if with_masks and len(rows):
        assert detections.masks is not None
        masks = list(detections.masks)
    found = truth.load_res(rows, segmentation=masks)
    if masks is not None and not federated:
        # lvis-api, as mmdet calls it, assigns detections to size ranges by the area of their boxes;
        # mmdet's COCO evaluation does so by the area of their masks.
        areas = np.asarray(hotcoco.mask.area(masks), np.float64)
        found.update_anns(ids=np.arange(1, len(masks) + 1), area=areas)
    return found
