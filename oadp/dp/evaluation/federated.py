"""LVIS's rules: what is judged in an image whose annotations name few of the classes."""

__all__ = ['counted_by_lvis', 'judgement']

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oadp.dp.evaluation.annotations import Objects
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.metrics import LVIS_LIMITS

_MAX_PER_IMAGE = LVIS_LIMITS[0]


def counted_by_lvis(detections: Detections) -> np.ndarray:
    """Return which rows lvis-api counts: of an image's 300 best, those whose boxes have an area.

    hotcoco, like pycocotools, counts detections without an area as false.
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
    """Return (images, C) bool: where a class is judged, and where it is annotated only in part.

    Args:
        images: ``neg_category_ids`` and ``not_exhaustive_category_ids`` of each, labels + 1.
        objects: of the images; a class with an object is judged.
        num_categories: C.
    """
    shape = (len(images), num_categories)
    judged, partial = np.zeros(shape, bool), np.zeros(shape, bool)
    for i, image in enumerate(images):
        judged[i, [c - 1 for c in image['neg_category_ids']]] = True
        partial[i, [c - 1 for c in image['not_exhaustive_category_ids']]] = True
    judged[objects.images, objects.labels] = True
    return judged, partial
