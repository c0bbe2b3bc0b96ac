"""Which detection found which object, and what covers the objects that none found."""

__all__ = ['FOUND_IOU', 'NEAR_IOU', 'ImageMatch', 'Matches', 'match', 'match_image', 'pairwise_iou']

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import hotcoco
import numpy as np

from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth

FOUND_IOU = 0.5
"""From this IoU on a detection or a proposal covers an object (COCO's AP50)."""

NEAR_IOU = 0.1
"""From this IoU on a detection is near an object (TIDE, arXiv:2008.08115, section 3.1)."""


class ImageMatch(NamedTuple):
    """One image's m detections against its n objects; −1 stands for none.

    Attributes:
        objects: (m,) the object that a detection found, as in COCO: by descending score, each takes
            the free object of its class with the highest IoU, if that is at least ``FOUND_IOU``.
        in_crowd: (m,) bool, found nothing but a crowd of its class.
        same, same_iou: (m,) the object of a detection's own class with the highest IoU, and that.
        other, other_iou: (m,) the same of other classes.
        detections: (n,) the detection that found an object.
        covers: (n,) the highest-scoring detection, of any class, that covers an object.
        own_iou: (n,) highest IoU of an object and a detection of its class.
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
    """All images' detections and objects; rows of ``detections`` and of ``truth.objects``.

    Attributes:
        truth: the ground truth.
        detections: M detections that count, ordered by image.
        ignored: (M,) bool, detections that are neither right nor wrong: in a crowd, or of a class
            that is not judged in the image (LVIS).
        image: the other columns, as of :class:`ImageMatch`, with positions in all rows.
        proposed: (N,) bool, whether a proposal covers an object; None without proposals.
    """

    truth: GroundTruth
    detections: Detections
    ignored: np.ndarray
    image: ImageMatch
    proposed: np.ndarray | None

    @property
    def is_novel(self) -> np.ndarray:
        """(C,) bool, by label."""
        categories = self.truth.categories
        return np.arange(categories.num_all) >= categories.num_bases

    @property
    def judged_objects(self) -> np.ndarray:
        """Rows of the objects, without crowds and those that LVIS ignores."""
        objects = self.truth.objects
        return np.flatnonzero(~objects.crowd & (objects.areas >= 0))


def pairwise_iou(xyxy: np.ndarray, xywh: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the (m, n) IoU of boxes and objects; of a crowd, the share of the box that is in it.

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
    """Highest value of each row and its column; −1 and 0 where all are 0."""
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
    """Match one image's detections with its objects.

    Args:
        boxes, labels, scores: (m, 4) xyxy, (m,) and (m,) of the detections.
        objects_xywh, object_labels, crowd: (n, 4), (n,) and (n,) bool of the objects.
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
            best = free[::-1][single[i, free[::-1]].argmax()]  # of equal ones the last, as in COCO
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
    """Where each of 0 … count − 1 is in ascending values."""
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
        detections: of its images.
        proposals: each image's (p, 4 or more) boxes xyxy by image id, in pixels of the original
            image; None where they are not known.
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
            *(column[rows] for column in (detections.boxes, detections.labels, detections.scores)),
            xywh, objects.labels[mine], crowd,
        )  # fmt: skip
        for name, column in found._asdict().items():
            if name in ('objects', 'same', 'other') and len(mine):
                column = np.where(column >= 0, mine[column], -1)
            elif name in ('detections', 'covers'):
                column = np.where(column >= 0, column + rows.start, -1)
            columns[name].append(column)
        if proposals is not None and len(mine):
            boxes = np.asarray(proposals[int(image_ids[image])])[:, :4]
            covered = pairwise_iou(boxes, xywh, np.zeros(len(mine), bool)) >= FOUND_IOU
            proposed[mine] = covered.any(0)
    merged = {k: np.concatenate([np.zeros(0, int), *v]) for k, v in columns.items()}
    for name in ('detections', 'covers', 'own_iou'):  # back to the order of the objects
        values = merged[name].copy()
        values[by_image] = merged[name]
        merged[name] = values
    result = ImageMatch(**merged)
    ignored = result.in_crowd.astype(bool) | truth.unjudged(detections, result.objects < 0)
    if len(objects.labels):
        ignored |= (result.objects >= 0) & (objects.areas[result.objects] < 0)
    return Matches(truth, detections, ignored, result, proposed)
