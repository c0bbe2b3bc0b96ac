"""The rules of LVIS, where each image is annotated for a few of the categories only."""

__all__ = ['counted_by_lvis', 'judgement']

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oadp.dp.evaluation.annotations import Objects
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.metrics import LVIS_LIMITS

_MAX_PER_IMAGE = LVIS_LIMITS[0]


def counted_by_lvis(detections: Detections) -> np.ndarray:
    """Return which detections lvis-api counts: of the 300 best of an image, those with an area.

    hotcoco and pycocotools count detections without an area as false positives.

    Args:
        detections: N detections.

    Returns:
        (N,) bool.
    """
    order = np.lexsort((-detections.scores, detections.image_ids))
    ordered = detections.image_ids[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    counted = np.empty(len(order), bool)
    counted[order] = rank < _MAX_PER_IMAGE
    sides = detections.boxes[:, 2:].astype(np.float64) - detections.boxes[:, :2]
    return counted & (sides.prod(1) > 0)


def judgement(
    images: Sequence[Mapping[str, Any]], objects: Objects, num_categories: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a class is evaluated, and where it is not annotated exhaustively.

    Args:
        images: ``neg_category_ids`` and ``not_exhaustive_category_ids`` of each image, as labels
            plus 1.
        objects: the objects of the images; a class is evaluated in each image that has an object of
            it.
        num_categories: C.

    Returns:
        Two arrays, each (images, C) bool.
    """
    shape = (len(images), num_categories)
    judged, partial = np.zeros(shape, bool), np.zeros(shape, bool)
    for i, image in enumerate(images):
        judged[i, [c - 1 for c in image['neg_category_ids']]] = True
        partial[i, [c - 1 for c in image['not_exhaustive_category_ids']]] = True
    judged[objects.images, objects.labels] = True
    return judged, partial
