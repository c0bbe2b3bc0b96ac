"""Draw missed objects and false detections on images."""

__all__ = ['FALSE_COLOR', 'MISSED_COLOR', 'draw_errors']

from typing import Any, cast

import cv2
import numpy as np
import supervision as sv

from oadp.data.drawing import draw
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.matching import FOUND_IOU, match_image

MISSED_COLOR = sv.Color.from_hex('#2f9e44')
FALSE_COLOR = sv.Color.from_hex('#e03131')


def draw_errors(
    image: np.ndarray, detections: sv.Detections, truth: GroundTruth, image_id: int
) -> np.ndarray:
    """Draw the detections of an image, false ones in red, and its missed objects in green.

    Args:
        image: (h, w, 3) uint8 RGB; not modified.
        detections: of ``to_detections``, those with a score that is high enough to be drawn.
        truth: the ground truth.
        image_id: the id of the image.

    Returns:
        (h', w', 3) uint8 RGB; see :func:`oadp.data.drawing.draw`.
    """
    objects = truth.objects
    rows = np.flatnonzero(objects.images == truth.image_ids.index(image_id))
    xywh, labels = objects.boxes[rows], objects.labels[rows]
    class_ids, scores = detections.class_id, detections.confidence
    assert class_ids is not None and scores is not None
    found = match_image(detections.xyxy, class_ids, scores, xywh, labels, objects.crowd[rows])
    columns = Detections(np.full(len(detections), image_id), class_ids, detections.xyxy, scores)
    unmatched = found.objects < 0
    false = unmatched & ~found.in_crowd & ~truth.unjudged(columns, unmatched)
    missed = (found.detections < 0) & ~objects.crowd[rows] & (objects.areas[rows] >= 0)
    scene = draw(image, cast(sv.Detections, detections[~false]))
    scale = scene.shape[1] / image.shape[1]
    names = truth.categories.all_
    false_names = [
        f'false: {names[label]} {score:.2f}' + (f' ({names[labels[other]]})' if iou >= FOUND_IOU else '')
        for label, score, other, iou in zip(
            class_ids[false], scores[false], found.other[false], found.other_iou[false], strict=True,
        )
    ]  # fmt: skip
    scene = _annotate(scene, detections.xyxy[false] * scale, false_names, FALSE_COLOR)
    xyxy = np.concatenate([xywh[missed, :2], xywh[missed, :2] + xywh[missed, 2:]], 1)
    missed_names = [f'missed: {names[label]}' for label in labels[missed]]
    return _annotate(scene, xyxy * scale, missed_names, MISSED_COLOR)


def _annotate(scene: np.ndarray, xyxy: np.ndarray, names: list[str], color: sv.Color) -> np.ndarray:
    if not names:
        return scene
    boxes = sv.Detections(xyxy=xyxy, class_id=np.zeros(len(names), int))
    size_wh = scene.shape[1], scene.shape[0]
    thickness = sv.calculate_optimal_line_thickness(size_wh)
    text_scale = sv.calculate_optimal_text_scale(size_wh)
    bgr: Any = cv2.cvtColor(scene, cv2.COLOR_RGB2BGR)  # supervision's colors are BGR, as OpenCV's
    bgr = sv.BoxAnnotator(color, thickness).annotate(bgr, boxes)
    bgr = sv.LabelAnnotator(color, text_scale=text_scale, text_padding=2).annotate(
        bgr, boxes, names
    )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
