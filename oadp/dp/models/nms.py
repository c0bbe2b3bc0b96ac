"""Class-wise NMS that looks only at the candidates that can be among the results.

With a score threshold of 0 every RoI is a candidate for every class: 1,000 RoIs and 65 classes are
65,000 boxes an image, of which 300 are kept. Greedy NMS decides on a box by higher-scoring boxes of
its class alone, so on the candidates above any score it decides as on all of them. Hence: the best
few candidates first, and more of them only where fewer than 300 survive.
"""

__all__ = ['nms_settings', 'top_detections']

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

_FIRST = 2
"""Candidates of the first round for each box that may be kept."""

_GROWTH = 4
"""Candidates of a further round for each of the round before."""


def nms_settings(rcnn_test_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`top_detections`, from the config's ``model.test_cfg.rcnn``.

    Raises:
        ValueError: another kind of NMS than mmdet's plain class-wise one.

    >>> nms_settings(dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300))
    {'iou_threshold': 0.5, 'score_threshold': 0.0, 'max_per_image': 300}
    """
    nms_cfg = dict(rcnn_test_cfg['nms'])
    kind, threshold = nms_cfg.pop('type', 'nms'), nms_cfg.pop('iou_threshold')
    nms_cfg.pop('split_thr', None)  # when mmcv loops over the classes: the result is the same
    if kind != 'nms' or nms_cfg:
        raise ValueError(
            f"expected nms=dict(type='nms', iou_threshold=…) alone; found {rcnn_test_cfg['nms']}"
        )
    return dict(
        iou_threshold=threshold,
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
    """The detections that mmdet's ``multiclass_nms`` gives, of class-agnostic boxes.

    Args:
        boxes: (n, 4) xyxy in pixels, not negative.
        scores: (n, C + 1), background last.
        iou_threshold: of two boxes of a class that overlap more, the lower-scoring is dropped.
        score_threshold: only what scores more is a candidate.
        max_per_image: at most so many are kept; all where it is not positive.

    Returns:
        (k, 5) xyxy and score in descending order of score, and (k,) labels. Equal scores come in
        the order of (RoI, class).
    """
    num_classes = scores.shape[1] - 1
    flat = scores[:, :-1].reshape(-1)
    is_candidate = flat > score_threshold
    total = int(is_candidate.count_nonzero())
    if total == 0:
        return boxes.new_zeros(0, 5), torch.zeros(0, dtype=torch.long, device=boxes.device)
    # mmcv keeps the classes apart by moving each of them beyond the largest coordinate. Far away
    # float32 rounds coordinates, by 1/128 pixel for COCO's and 1/16 for LVIS's last class; the same
    # arithmetic is used here, for the same result.
    offset = boxes[is_candidate.view(-1, num_classes).any(1)].max() + 1
    wanted = max_per_image if max_per_image > 0 else total
    count = _FIRST * wanted
    while True:
        if count < total:
            # All that score as much as the last one: the set must be closed upwards.
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
