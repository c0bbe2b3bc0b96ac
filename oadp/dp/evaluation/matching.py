"""Match detections with objects, for the analysis of errors."""

__all__ = ['FOUND_IOU', 'NEAR_IOU', 'ImageMatch', 'Matches', 'match', 'match_image', 'pairwise_iou']

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import hotcoco
import numpy as np

from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth

FOUND_IOU = 0.5
"""The lowest IoU at which a detection or a proposal covers an object (AP50 of COCO)."""

NEAR_IOU = 0.1
"""The lowest IoU at which a detection is near an object (TIDE, arXiv:2008.08115, section 3.1)."""


class ImageMatch(NamedTuple):
    """The matches of m detections with n objects in one image; −1 stands for none.

    Attributes:
        objects: (m,) the object that a detection matches, as in COCO: in descending order of score,
            each detection is assigned the unmatched object of its class with the highest IoU, if
            the IoU is at least ``FOUND_IOU``.
        in_crowd: (m,) bool, whether a detection matches only a crowd of its class.
        same, same_iou: (m,) the object of the detection's class with the highest IoU, and this IoU.
        other, other_iou: (m,) the object of another class with the highest IoU, and this IoU.
        detections: (n,) the detection that matches an object.
        covers: (n,) the detection of any class with the highest score that covers an object.
        own_iou: (n,) the highest IoU of an object with a detection of its class.
    """

    objects: np.ndarray
    in_crowd: np.ndarray
    same: np.ndarray
    same_iou: np.ndarray
    other: np.ndarray
    other_iou: np.ndarray
    detections: np.ndarray
    covers: np.ndarray
    own_iou: np.ndarray


class Matches(NamedTuple):
    """The matches of the detections and objects of all images.

    Attributes:
        truth: the ground truth.
        detections: the M detections that count, ordered by image.
        ignored: (M,) bool, detections that are neither true nor false positives: they match a
            crowd, or their class is not evaluated in the image (LVIS).
        image: the columns of :class:`ImageMatch`, with rows of ``detections`` and ``truth.objects``
            as positions.
        proposed: (N,) bool, whether a proposal covers an object; None if proposals are not given.
    """

    truth: GroundTruth
    detections: Detections
    ignored: np.ndarray
    image: ImageMatch
    proposed: np.ndarray | None

    @property
    def is_novel(self) -> np.ndarray:
        """(C,) bool, whether a category is novel, by label."""
        categories = self.truth.categories
        return np.arange(categories.num_all) >= categories.num_bases

    @property
    def judged_objects(self) -> np.ndarray:
        """The rows of the objects, except crowds and objects that LVIS ignores."""
        objects = self.truth.objects
        return np.flatnonzero(~objects.crowd & (objects.areas >= 0))


def pairwise_iou(xyxy: np.ndarray, xywh: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the (m, n) IoU of boxes and objects.

    For a crowd, it is the fraction of the box that is inside of the crowd.

    Args:
        xyxy: (m, 4) boxes.
        xywh: (n, 4) objects.
        crowd: (n,) bool.
    """
    if not len(xyxy) or not len(xywh):
        return np.zeros((len(xyxy), len(xywh)))
    found = xyxy.astype(np.float64)
    found[:, 2:] -= found[:, :2]
    return hotcoco.mask.bbox_iou(found, xywh, crowd.astype(np.uint8))


def _best(iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of the highest value of each row (−1 if all are 0), and the value."""
    if not iou.shape[1]:
        return np.full(len(iou), -1), np.zeros(len(iou))
    column = iou.argmax(1)
    value = iou[np.arange(len(iou)), column]
    return np.where(value > 0, column, -1), value


def match_image(
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    objects_xywh: np.ndarray,
    object_labels: np.ndarray,
    crowd: np.ndarray,
) -> ImageMatch:
    """Match the detections of one image with its objects.

    Args:
        boxes: (m, 4) xyxy of the detections.
        labels: (m,) labels of the detections.
        scores: (m,) scores of the detections.
        objects_xywh: (n, 4) boxes of the objects.
        object_labels: (n,) labels of the objects.
        crowd: (n,) bool, whether an object is a crowd.
    """
    m, n = len(labels), len(object_labels)
    iou = pairwise_iou(boxes, objects_xywh, crowd)
    is_same = labels[:, None] == object_labels[None]
    single = iou * ~crowd
    order = np.argsort(-scores, kind='stable')
    objects, detections = np.full(m, -1), np.full(n, -1)
    candidates = single * is_same >= FOUND_IOU
    for i in order[candidates[order].any(1)]:
        free = np.flatnonzero(candidates[i] & (detections < 0))
        if len(free):
            best = free[::-1][single[i, free[::-1]].argmax()]  # the last of equal ones, as in COCO
            objects[i], detections[best] = best, i
    in_crowd = (objects < 0) & (iou * crowd * is_same >= FOUND_IOU).any(1)
    same, same_iou = _best(single * is_same)
    other, other_iou = _best(single * ~is_same)
    covering = single[order] >= FOUND_IOU
    covers = np.where(covering.any(0), order[covering.argmax(0)], -1) if m else np.full(n, -1)
    own_iou = (single * is_same).max(0) if m else np.zeros(n)
    return ImageMatch(
        objects, in_crowd, same, same_iou, other, other_iou, detections, covers, own_iou
    )


def _slices(values: np.ndarray, count: int) -> Iterator[slice]:
    """Yield where each of 0 … count − 1 is in ascending values."""
    bounds = np.searchsorted(values, np.arange(count + 1))
    return (slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True))


def match(
    truth: GroundTruth,
    detections: Detections,
    proposals: Mapping[int, np.ndarray] | None = None,
) -> Matches:
    """Match the detections of all images.

    Args:
        truth: the ground truth.
        detections: detections on its images.
        proposals: (p, 4 or more) boxes xyxy of each image by image id, in pixels of the original
            image; None if they are not known.
    """
    detections = truth.counted(detections)
    objects, image_ids = truth.objects, np.array(truth.image_ids, np.int64)
    by_image = np.argsort(objects.images, kind='stable')
    found_in = np.searchsorted(image_ids, detections.image_ids)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ImageMatch._fields}
    proposed = None if proposals is None else np.zeros(len(objects.labels), bool)
    slices = zip(
        _slices(found_in, len(image_ids)),
        _slices(objects.images[by_image], len(image_ids)),
        strict=True,
    )
    for image, (rows, object_rows) in enumerate(slices):
        mine = by_image[object_rows]
        xywh, crowd = objects.boxes[mine], objects.crowd[mine]
        found = match_image(
            detections.boxes[rows],
            detections.labels[rows],
            detections.scores[rows],
            xywh,
            objects.labels[mine],
            crowd,
        )
        for name, column in _as_rows(found, rows.start, mine).items():
            columns[name].append(column)
        if proposals is not None and proposed is not None and len(mine):
            boxes = np.asarray(proposals[int(image_ids[image])])[:, :4]
            covered = pairwise_iou(boxes, xywh, np.zeros(len(mine), bool)) >= FOUND_IOU
            proposed[mine] = covered.any(0)
    result = _merge(columns, by_image)
    ignored = result.in_crowd.astype(bool) | truth.unjudged(detections, result.objects < 0)
    if len(objects.labels):
        ignored |= (result.objects >= 0) & (objects.areas[result.objects] < 0)
    return Matches(truth, detections, ignored, result, proposed)


def _as_rows(found: ImageMatch, first: int, objects: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of an image with rows of all detections and of all objects as positions.

    Args:
        found: the matches within the image.
        first: the row of the first detection of the image.
        objects: (n,) the rows of the objects of the image.
    """
    columns = found._asdict()
    for name in ('objects', 'same', 'other'):
        if len(objects):
            columns[name] = np.where(columns[name] >= 0, objects[columns[name]], -1)
    for name in ('detections', 'covers'):
        columns[name] = np.where(columns[name] >= 0, columns[name] + first, -1)
    return columns


def _merge(columns: Mapping[str, list[np.ndarray]], by_image: np.ndarray) -> ImageMatch:
    """Concatenate the columns of the images; ``by_image`` are the rows of the objects, by image."""
    merged = {k: np.concatenate([np.zeros(0, int), *v]) for k, v in columns.items()}
    for name in ('detections', 'covers', 'own_iou'):  # back to the order of the objects
        values = merged[name].copy()
        values[by_image] = merged[name]
        merged[name] = values
    return ImageMatch(**merged)
