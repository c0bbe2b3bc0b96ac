"""NMS on the best candidates is compared with mmdet's NMS on all."""

import pytest
import torch

from oadp import compat
from oadp.dp.models.nms import is_plain_nms, nms_settings, top_detections

compat.install()
from mmdet.core import multiclass_nms as mmdet_nms  # noqa: E402  (needs mmcv's operators)


def some_rois(n: int, num_classes: int, seed: int, spread: float):
    """Return RoIs in clusters, so that boxes are suppressed; scores from uniform (spread 0) to peaked."""
    generator = torch.Generator().manual_seed(seed)
    centres = 600 * torch.rand(max(n // 12, 1), 2, generator=generator)
    centres = centres[torch.randint(len(centres), (n,), generator=generator)]
    centres = centres + 12 * torch.randn(n, 2, generator=generator)
    sides = 20 + 120 * torch.rand(n, 2, generator=generator)
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1).clamp(0, 640)
    logits = spread * torch.randn(n, num_classes + 1, generator=generator)
    return boxes, logits.softmax(1)


@pytest.mark.parametrize('spread', [0.5, 2.0, 6.0])
@pytest.mark.parametrize(
    ('n', 'num_classes', 'score_thr', 'max_per_img'),
    [
        (300, 65, 0.0, 300),  # more than 10,000 candidates: mmcv loops over the classes
        (100, 65, 0.0, 300),  # fewer: mmcv processes all classes together
        (60, 1203, 0.0, 300),
        (40, 3, 0.0, 300),  # fewer survive than can be kept
        (200, 20, 0.05, 50),
        (200, 20, 0.0, -1),
        (3, 2, 0.99999, 10),
    ],
)
def test_equals_mmdet(n, num_classes, score_thr, max_per_img, spread):
    boxes, scores = some_rois(n, num_classes, seed=n + num_classes, spread=spread)
    settings = dict(iou_threshold=0.5, score_threshold=score_thr, max_per_image=max_per_img)
    want_boxes, want_labels = mmdet_nms(
        boxes, scores, score_thr, dict(type='nms', iou_threshold=0.5), max_per_img
    )
    got_boxes, got_labels = top_detections(boxes, scores, **settings)
    assert torch.equal(got_boxes, want_boxes)
    assert torch.equal(got_labels, want_labels)


def test_more_candidates_are_used_if_few_survive():
    # One cluster of near-identical boxes: each class keeps one of 500, so the first rounds are short.
    n, num_classes = 500, 40
    boxes = torch.tensor([[10.0, 10, 110, 110]]).repeat(n, 1) + torch.rand(n, 1)
    scores = torch.rand(n, num_classes + 1)
    # The first rounds have candidates of the first two classes only.
    scores[:, 2:] *= 0.01
    want = mmdet_nms(boxes, scores, 0.0, dict(type='nms', iou_threshold=0.5), 30)
    got = top_detections(boxes, scores, iou_threshold=0.5, score_threshold=0.0, max_per_image=30)
    assert len(want[0]) == 30
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])


def test_all_scores_equal():
    boxes = torch.arange(50.0)[:, None] * 100 + torch.tensor([0.0, 0, 50, 50])
    scores = torch.full((50, 21), 0.1)
    got_boxes, got_labels = top_detections(
        boxes, scores, iou_threshold=0.5, score_threshold=0.0, max_per_image=10
    )
    assert len(got_boxes) == 10
    assert got_labels.tolist() == list(range(10))


def test_other_types_of_nms_are_an_error():
    with pytest.raises(ValueError, match='soft_nms'):
        nms_settings(
            dict(score_thr=0, max_per_img=300, nms=dict(type='soft_nms', iou_threshold=0.5))
        )


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (dict(iou_threshold=0.5), True),
        (dict(type='nms', iou_threshold=0.5, split_thr=100), True),
        (dict(type='nms', iou_threshold=0.5, max_num=10), False),
        (dict(type='nms'), False),
        (dict(type='soft_nms', iou_threshold=0.5), False),
    ],
)
def test_plain_nms(config, expected):
    assert is_plain_nms(config) is expected
