import copy

import numpy as np
import pytest
import torch
from mmdet.core import multiclass_nms

from oadp.dp import build_detector
from oadp.dp.fusion.scores import FusionParameters

DIM, NAMES = 16, ('cat', 'dog', 'cow', 'fox', 'owl')

METAS = [
    dict(
        img_shape=(64, 96, 3),
        ori_shape=(32, 48, 3),
        pad_shape=(64, 96, 3),
        scale_factor=np.full(4, 2.0, dtype=np.float32),
        flip=False,
        flip_direction=None,
    )
] * 2


@pytest.fixture
def detector(tiny_config):
    torch.manual_seed(0)
    return build_detector(tiny_config).eval()


@pytest.fixture
def inputs(detector):
    """The pyramid of two images, and 9 and 4 proposals."""
    torch.manual_seed(1)
    with torch.no_grad():
        features = detector.extract_feat(torch.randn(2, 3, 64, 96))
    proposals = []
    for n in (9, 4):
        corner = torch.rand(n, 2) * 30
        proposals.append(
            torch.cat([corner, corner + 10 + torch.rand(n, 2) * 20, torch.rand(n, 1)], 1)
        )
    return features, proposals


@torch.no_grad()
def test_logits_are_the_heads(detector, inputs):
    features, proposals = inputs
    head = detector.roi_head
    first, second = head.predict_logits(features, proposals, METAS)
    assert [len(p.boxes) for p in (first, second)] == [9, 4]
    # The second image alone gives the same.
    alone = [f[1:] for f in features]
    (again,) = head.predict_logits(alone, proposals[1:], METAS[1:])
    for a, b in zip(second, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    rois = torch.cat([torch.zeros(4, 1), proposals[1][:, :4]], 1)
    pooled = head.bbox_roi_extractor(alone[:4], rois)
    torch.testing.assert_close(second.bbox_logits, head.bbox_head(pooled)[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        second.object_logits, head._object_head(pooled)[0], rtol=1e-4, atol=1e-3
    )
    assert torch.equal(second.objectness, proposals[1][:, 4])


@torch.no_grad()
def test_boxes_in_pixels_of_the_original_image(detector, inputs):
    features, proposals = inputs
    small = detector.roi_head.predict_logits(features, proposals, METAS, rescale=True)
    large = detector.roi_head.predict_logits(features, proposals, METAS)
    for s, b in zip(small, large, strict=True):
        torch.testing.assert_close(2 * s.boxes, b.boxes)
        assert b.boxes.min() >= 0 and (b.boxes <= torch.tensor([96.0, 64.0, 96.0, 64.0])).all()


@torch.no_grad()
def test_detections_are_fused_and_suppressed(detector, inputs):
    """By the paper's formula on probabilities, and mmdet's own suppression."""
    features, proposals = inputs
    head = detector.roi_head
    boxes, labels = head.simple_test_bboxes(features, METAS, proposals, head.test_cfg)
    raw_boxes, raw_scores = head.simple_test_bboxes(features, METAS, proposals, None)
    for i, prediction in enumerate(head.predict_logits(features, proposals, METAS)):
        p, q = prediction.bbox_logits.softmax(1), prediction.object_logits.softmax(1)
        base = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
        gamma = base * 2 / 3 + (1 - base) / 3
        scores = p[:, :-1] ** gamma * q[:, :-1] ** (1 - gamma)
        torch.testing.assert_close(raw_scores[i][:, :-1], scores, rtol=1e-4, atol=1e-6)
        assert torch.equal(raw_boxes[i], prediction.boxes)
        want = multiclass_nms(
            prediction.boxes, raw_scores[i], 0.0, dict(type='nms', iou_threshold=0.5), 300
        )
        torch.testing.assert_close((boxes[i], labels[i]), want)


@torch.no_grad()
def test_fusion_can_be_set(detector, inputs):
    head = detector.roi_head
    default = head.simple_test_bboxes(*[inputs[0], METAS, inputs[1]], head.test_cfg)[0][0]
    head.fusion = FusionParameters(objectness_gamma=0.5)
    other = head.simple_test_bboxes(*[inputs[0], METAS, inputs[1]], head.test_cfg)[0][0]
    assert other[:, 4].max() < default[:, 4].max()


def test_fusion_of_the_config(tiny_config):
    tiny_config.model.roi_head.fusion = dict(bbox_base_gamma=0.5)
    assert build_detector(tiny_config).roi_head.fusion.bbox_base_gamma == 0.5


@torch.no_grad()
def test_soft_suppression_is_mmdets(detector, inputs):
    head = detector.roi_head
    cfg = copy.deepcopy(head.test_cfg)
    cfg.nms = dict(type='nms', iou_threshold=0.5, class_agnostic=True)
    boxes, labels = head.simple_test_bboxes(inputs[0], METAS, inputs[1], cfg)
    raw_boxes, raw_scores = head.simple_test_bboxes(inputs[0], METAS, inputs[1], None)
    want = multiclass_nms(raw_boxes[0], raw_scores[0], 0.0, cfg.nms, 300)
    torch.testing.assert_close((boxes[0], labels[0]), want)


@torch.no_grad()
@pytest.mark.parametrize('counts', [(9, 0), (0, 0)], ids=['one image', 'both'])
def test_no_proposals(detector, inputs, counts):
    features, proposals = inputs
    proposals = [p[:n] for p, n in zip(proposals, counts, strict=True)]
    boxes, labels = detector.roi_head.simple_test_bboxes(
        features, METAS, proposals, detector.roi_head.test_cfg
    )
    assert [len(b) > 0 for b in boxes] == [n > 0 for n in counts]
    assert boxes[1].shape == (0, 5) and labels[1].shape == (0,)
    results = detector.roi_head.simple_test(features, proposals, METAS)
    assert [len(r) for r in results] == [5, 5]


@torch.no_grad()
def test_without_object_head(tiny_config, inputs):
    tiny_config.model.update(dict(type='ViLD', distiller=None))
    del tiny_config.model['global_head'], tiny_config.model.roi_head['block_head']
    tiny_config.model.roi_head.update(dict(type='ViLDEnsembleRoIHead', object_head=None))
    detector = build_detector(tiny_config).eval()
    assert not any('_object_head' in key for key in detector.state_dict())
    (prediction, _) = detector.roi_head.predict_logits(*inputs, METAS)
    assert prediction.object_logits is None
    torch.testing.assert_close(
        detector.roi_head.score(prediction), prediction.bbox_logits.softmax(1)
    )


@torch.no_grad()
@pytest.mark.parametrize('num', [2, 7])
def test_other_vocabulary(detector, inputs, num):
    """A view of the detector with other names leaves the detector as it was."""
    features, proposals = inputs
    before = detector.roi_head.simple_test(features, proposals, METAS)
    shared = {id(t): t for t in (*detector.parameters(), *detector.buffers())}
    view = copy.deepcopy(detector, shared)
    embeddings = torch.nn.functional.normalize(torch.randn(2, num, DIM), dim=2)
    is_base = torch.zeros(num, dtype=torch.bool)
    view.roi_head.set_vocabulary([f'name {i}' for i in range(num)], is_base, *embeddings)
    results = view.roi_head.simple_test(features, proposals, METAS)
    assert [len(r) for r in results] == [num, num]
    (prediction, _) = view.roi_head.predict_logits(features, proposals, METAS)
    student = view.roi_head._object_head
    assert prediction.object_logits.shape == (9, num + 1)
    assert torch.equal(student.fc_cls._embeddings, embeddings[1])
    assert torch.equal(view.roi_head.bbox_head.fc_cls._embeddings, embeddings[0])
    assert torch.equal(view.roi_head.is_base, is_base)
    again = detector.roi_head.simple_test(features, proposals, METAS)
    for a, b in zip(before, again, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert detector.roi_head.bbox_head.num_classes == len(NAMES)


def test_test_time_augmentation_is_refused(detector):
    images = [torch.randn(1, 3, 64, 96)] * 2
    with pytest.raises(NotImplementedError, match='one scale and no flip'), torch.no_grad():
        detector(return_loss=False, img=images, img_metas=[[dict(METAS[0])], [dict(METAS[0])]])


def test_nothing_to_fuse(tiny_config):
    del tiny_config.model.roi_head['block_head']
    tiny_config.model.distiller = None
    tiny_config.model.roi_head.update(dict(object_head=None, fusion=dict(objectness_gamma=0.5)))
    with pytest.raises(ValueError, match='no object_head to fuse with'):
        build_detector(tiny_config)
