"""Select boxes in TorchScript, where branches and loops that depend on their number stay in the graph.

The arithmetic is that of mmcv's ``batched_nms`` and of ``oadp.dp.models.nms``: classes, or levels, are
separated by an offset larger than every coordinate, which makes float32 round the coordinates more
coarsely. ONNX could separate the classes itself, but it would keep different boxes where an IoU is
close to the threshold.
"""

__all__ = ['suppress_levels', 'top_candidates', 'top_detections']

import torch
import torchvision  # noqa: F401  brings torch.ops.torchvision.nms
from torch import Tensor


@torch.jit.script
def top_candidates(scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Return the highest scores in descending order, and their positions.

    Args:
        scores: (n,).
        limit: the maximum number of scores; all if it is not positive.
    """
    k = scores.shape[0]
    if limit > 0:
        k = min(limit, k)
    best, index = scores.topk(k)
    return best, index


@torch.jit.script
def suppress_levels(
    boxes: Tensor,
    scores: Tensor,
    levels: Tensor,
    iou_threshold: float,
    min_side: float,
    limit: int,
) -> tuple[Tensor, Tensor]:
    """Apply NMS within each level.

    Args:
        boxes: (n, 4) xyxy in pixels, not negative.
        scores: (n,).
        levels: (n,) float.
        iou_threshold: of two boxes of a level whose IoU is higher, the one with the lower score is
            dropped.
        min_side: only boxes with two longer sides are kept; a negative number keeps all.
        limit: the maximum number of boxes to keep.

    Returns:
        (k, 4) and (k,), in descending order of score.
    """
    if min_side >= 0:
        sides = boxes[:, 2:] - boxes[:, :2]
        valid = (sides > min_side).all(dim=1).nonzero()[:, 0]
        boxes, scores, levels = boxes[valid], scores[valid], levels[valid]
    zero = torch.zeros([1], dtype=boxes.dtype)
    offset = torch.cat([boxes.reshape(-1), zero]).max() + 1
    kept = torch.ops.torchvision.nms(boxes + (levels * offset)[:, None], scores, iou_threshold)
    kept = kept[:limit]
    return boxes[kept], scores[kept]


@torch.jit.script
def _survivors(
    boxes: Tensor,
    scores: Tensor,
    offset: Tensor,
    threshold: float,
    iou_threshold: float,
    count: int,
) -> Tensor:
    """Apply NMS to the ``count`` highest scores and their ties; return positions in flat scores."""
    num_classes = scores.shape[1]
    flat = scores.reshape(-1)
    above = 2 * torch.ones(
        [1], dtype=flat.dtype
    )  # higher than any score, for the case of no scores
    lowest = torch.cat([flat.topk(count)[0], above]).min()
    index = ((flat >= lowest) & (flat > threshold)).nonzero()[:, 0]
    roi = torch.div(index, num_classes, rounding_mode='floor')
    label = index - roi * num_classes
    moved = boxes[roi] + (label.to(boxes.dtype) * offset)[:, None]
    kept = torch.ops.torchvision.nms(moved, flat[index], iou_threshold)
    # Not `index[kept]`: in a loop, the exporter cannot infer the type of `kept`.
    return index.index_select(0, kept.reshape(-1))


@torch.jit.script
def top_detections(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    limit: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``oadp.dp.models.nms.top_detections`` from scores without the background.

    Args:
        boxes: (n, 4) xyxy in pixels, not negative; n may be 0.
        scores: (n, C).
        iou_threshold: of two boxes of a class whose IoU is higher, the one with the lower score is
            dropped.
        score_threshold: only boxes with a higher score are candidates.
        limit: the maximum number of boxes to keep.

    Returns:
        (k,) positions in ``boxes``, (k,) labels and (k,) scores, in descending order of score.
    """
    num_classes = scores.shape[1]
    zero = torch.zeros([1], dtype=boxes.dtype)
    is_candidate = (scores > score_threshold).any(dim=1).nonzero()[:, 0]
    offset = torch.cat([boxes[is_candidate].reshape(-1), zero]).max() + 1
    total = scores.shape[0] * num_classes
    count = min(2 * limit, total)
    kept = _survivors(boxes, scores, offset, score_threshold, iou_threshold, count)
    while kept.shape[0] < limit and count < total:
        count = min(4 * count, total)
        kept = _survivors(boxes, scores, offset, score_threshold, iou_threshold, count)
    kept = kept[:limit]
    roi = torch.div(kept, num_classes, rounding_mode='floor')
    return roi, kept - roi * num_classes, scores.reshape(-1)[kept]
