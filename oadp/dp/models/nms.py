"""Class-wise NMS that processes only the candidates that can be among the results.

With a score threshold of 0, every RoI is a candidate for every class: 1,000 RoIs and 65 classes give
65,000 boxes per image, of which 300 are kept. Greedy NMS decides on a box only by the higher-scoring
boxes of its class, so NMS on the candidates above a given score gives the same result for them as NMS
on all candidates. Therefore the candidates with the highest scores are processed first, and more of
them only if fewer than 300 survive.
"""

__all__ = ['is_plain_nms', 'nms_settings', 'top_detections']

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

_FIRST = 2
"""Number of candidates in the first round, per box that may be kept."""

_GROWTH = 4
"""Factor by which the number of candidates grows from round to round."""


def is_plain_nms(nms_cfg: Mapping[str, Any]) -> bool:
    """Return whether a config is that of mmdet's class-wise NMS with nothing but a threshold.

    ``split_thr`` does not count: it decides when mmcv loops over the classes, and the result is the
    same.

    Args:
        nms_cfg: ``nms`` of ``test_cfg.rpn`` or ``test_cfg.rcnn``.

    >>> is_plain_nms(dict(iou_threshold=0.5)), is_plain_nms(dict(type='soft_nms'))
    (True, False)
    """
    return nms_cfg.get('type', 'nms') == 'nms' and {'iou_threshold'} == set(nms_cfg) - {
        'type',
        'split_thr',
    }


def nms_settings(rcnn_test_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :func:`top_detections`, from the config's ``model.test_cfg.rcnn``.

    Raises:
        ValueError: the NMS is not mmdet's class-wise one with nothing but a threshold.

    >>> nms_settings(dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300))
    {'iou_threshold': 0.5, 'score_threshold': 0.0, 'max_per_image': 300}
    """
    if not is_plain_nms(rcnn_test_cfg['nms']):
        raise ValueError(
            f"expected nms=dict(type='nms', iou_threshold=…) alone; found {rcnn_test_cfg['nms']}"
        )
    return dict(
        iou_threshold=rcnn_test_cfg['nms']['iou_threshold'],
        score_threshold=rcnn_test_cfg['score_thr'],
        max_per_image=rcnn_test_cfg['max_per_img'],
    )


def top_detections(
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_per_image: int,
) -> tuple[Tensor, Tensor]:
    """Return the detections of mmdet's ``multiclass_nms`` for class-agnostic boxes.

    Args:
        boxes: (n, 4) xyxy in pixels, not negative.
        scores: (n, C + 1), background last.
        iou_threshold: of two boxes of a class whose IoU is higher, the one with the lower score is
            dropped.
        score_threshold: only boxes with a higher score are candidates.
        max_per_image: the maximum number of boxes to keep; all if it is not positive.

    Returns:
        (k, 5) xyxy and score in descending order of score, and (k,) labels. Equal scores are
        ordered by RoI, then by class.
    """
    num_classes = scores.shape[1] - 1
    flat = scores[:, :-1].reshape(-1)
    is_candidate = flat > score_threshold
    total = int(is_candidate.count_nonzero())
    if total == 0:
        return boxes.new_zeros(0, 5), torch.zeros(0, dtype=torch.long, device=boxes.device)
    # mmcv separates the classes by an offset that is larger than every coordinate. Large offsets
    # make float32 round the coordinates, by 1/128 pixel for the last class of COCO and by 1/16 pixel
    # for the last class of LVIS. The same arithmetic is used here to get the same result.
    offset = boxes[is_candidate.view(-1, num_classes).any(1)].max() + 1
    wanted = max_per_image if max_per_image > 0 else total
    count = _FIRST * wanted
    while True:
        if count < total:
            # Include all candidates that have the same score as the last one.
            chosen = (flat >= flat.topk(count, sorted=False).values.min()) & is_candidate
        else:
            chosen = is_candidate
        index = chosen.nonzero().squeeze(1)
        roi, label = index // num_classes, index % num_classes
        moved = boxes[roi] + (label.to(boxes) * offset)[:, None]
        kept = nms(moved, flat[index], iou_threshold)
        if len(kept) >= wanted or count >= total:
            break
        count *= _GROWTH
    kept = kept[:wanted]
    return torch.cat([boxes[roi[kept]], flat[index[kept], None]], 1), label[kept]
