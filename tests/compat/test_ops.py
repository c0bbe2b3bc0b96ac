"""NMS and RoIAlign in mmcv's place: equal to their definitions, and to mmcv's own where compiled."""

import importlib
import importlib.util
import math

import numpy as np
import pytest
import torch

from oadp import compat
from oadp.compat import ops

compat.install()

HAS_COMPILED_OPS = compat.ops_in_use() == 'mmcv-full'


def random_boxes(n: int, size: float = 60.0, seed: int = 0) -> torch.Tensor:
    """(n, 4) xyxy, of sides from 1 pixel up, some of them overhanging ``size``."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, generator=g) * size
    sides = 1 + torch.rand(n, 2, generator=g) * size / 2
    return torch.cat([corners, corners + sides], 1)


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:
    """The definition, one pair at a time."""
    kept: list[int] = []
    for i in np.argsort(-scores):
        for j in kept:
            a, b = boxes[i], boxes[j]
            w = min(a[2], b[2]) - max(a[0], b[0]) + offset
            h = min(a[3], b[3]) - max(a[1], b[1]) + offset
            areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
            inter = max(w, 0) * max(h, 0)
            if inter / (sum(areas) - inter) > threshold:
                break
        else:
            kept.append(int(i))
    return kept


def bilinear(feature: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """(c,) value at a point of a (c, h, w) map; zero further than a pixel outside."""
    _, h, w = feature.shape
    if not (-1 <= y <= h and -1 <= x <= w):
        return feature.new_zeros(len(feature))
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    ly, lx = y - y0, x - x0
    return (
        feature[:, y0, x0] * (1 - ly) * (1 - lx)
        + feature[:, y0, x1] * (1 - ly) * lx
        + feature[:, y1, x0] * ly * (1 - lx)
        + feature[:, y1, x1] * ly * lx
    )


def roi_align_by_definition(features, rois, size, scale, ratio, aligned) -> torch.Tensor:
    """RoIAlign (He et al., Mask R-CNN, section 3) in loops, differentiable."""
    outputs = []
    for index, *box in rois.tolist():
        x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0) for v in box)
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1), max(h, 1)
        bh, bw = h / size[0], w / size[1]
        ny, nx = (ratio, ratio) if ratio else (math.ceil(bh), math.ceil(bw))
        for i in range(size[0]):
            for j in range(size[1]):
                samples = [
                    bilinear(
                        features[int(index)],
                        y1 + (i + (a + 0.5) / ny) * bh,
                        x1 + (j + (b + 0.5) / nx) * bw,
                    )
                    for a in range(ny)
                    for b in range(nx)
                ]
                outputs.append(torch.stack(samples).mean(0))
    return torch.stack(outputs).reshape(len(rois), *size, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.7])
def test_nms_equals_its_definition(offset: int, threshold: float) -> None:
    from mmcv.ops import nms

    boxes, scores = random_boxes(200), torch.rand(200, generator=torch.Generator().manual_seed(1))
    dets, kept = nms(boxes, scores, threshold, offset=offset)

    expected = greedy_nms(boxes.double().numpy(), scores.numpy(), threshold, offset)
    assert kept.tolist() == expected
    assert 5 < len(kept) < 200
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[expected])


def test_nms_by_the_pixel_rule_can_differ() -> None:
    # 10 pixels wide by coordinates, 11 with both end pixels: IoU 5/15 = 0.333 against 6/16 = 0.375.
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    scores = torch.tensor([0.9, 0.8])

    assert ops.nms(boxes, scores, 0.35, offset=0).tolist() == [0, 1]
    assert ops.nms(boxes, scores, 0.35, offset=1).tolist() == [0]
    assert boxes[0].tolist() == [0, 0, 10, 10], 'the caller keeps its boxes'


def test_nms_of_no_boxes() -> None:
    from mmcv.ops import nms

    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and kept.shape == (0,)


def test_batched_nms_keeps_classes_apart() -> None:
    from mmcv.ops import batched_nms

    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    scores = torch.tensor([0.5, 0.9, 0.7])
    labels = torch.tensor([0, 1, 0])
    _, kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5))
    assert kept.tolist() == [1, 2]


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [1.0, 0.25])
def test_roi_align_equals_its_definition(aligned: bool, ratio: int, scale: float) -> None:
    from mmcv.ops import RoIAlign

    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 3, 12, 16, dtype=torch.float64, generator=generator)
    boxes = random_boxes(6, size=14 / scale).double()
    rois = torch.cat([torch.tensor([[0.0], [1], [0], [1], [1], [0]]), boxes], 1)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()

    layer = RoIAlign((3, 4), scale, ratio, aligned=aligned)
    output = layer(ours, rois)
    expected = roi_align_by_definition(theirs, rois, (3, 4), scale, ratio, aligned)
    torch.testing.assert_close(output, expected)

    weights = torch.randn(output.shape, dtype=torch.float64, generator=generator)
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    assert theirs.grad.abs().max() > 0.1
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('height', [12, 200, 300])
def test_the_gradient_of_roi_align_is_the_same_for_maps_of_any_size(
    aligned: bool, ratio: int, height: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = (2, 3, height, 16)
    assert (height * 16 > ops.MAX_PIXELS) == (height == 300)
    boxes = random_boxes(30, size=100)
    boxes[0, 2:] = boxes[0, :2]  # empty
    boxes[1] += 500  # outside
    index = torch.randint(2, (30, 1), generator=generator)
    rois = torch.cat([index, boxes], 1)
    gradient = torch.randn(30, 3, 7, 7, generator=generator)
    found = torch.empty(shape)
    ops.roi_align_backward(
        gradient, rois, *[torch.empty(0)] * 2, found, 7, 7, 0.125, ratio, 1, aligned
    )
    expected = torch.ops.torchvision._roi_align_backward(
        gradient, rois, 0.125, 7, 7, *shape, ratio, aligned
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_box_that_is_not_finite_is_left_to_torchvision() -> None:
    """Training refuses it by its loss, which says more than an error here would."""
    rois = torch.tensor([[0.0, math.nan, 0, 9, 9], [0, 1, 1, 9, 9]])
    found = torch.empty(1, 2, 8, 8)
    ops.roi_align_backward(
        torch.ones(2, 2, 7, 7), rois, *[torch.empty(0)] * 2, found, 7, 7, 0.5, 0, 1, True
    )
    expected = torch.ops.torchvision._roi_align_backward(
        torch.ones(2, 2, 7, 7), rois, 0.5, 7, 7, 1, 2, 8, 8, 0, True
    )
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_roi_align_of_no_boxes_has_a_gradient() -> None:
    from mmcv.ops import RoIAlign

    features = torch.randn(1, 2, 5, 5, requires_grad=True)
    output = RoIAlign(7)(features, torch.zeros(0, 5))
    assert output.shape == (0, 2, 7, 7)
    output.sum().backward()
    assert not features.grad.any()


def test_the_refusal_names_the_op_and_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match='softnms.*make install OPS=1'):
        ops.softnms(torch.zeros(1, 4))
    with pytest.raises(NotImplementedError, match="pool_mode='max'.*make install OPS=1"):
        ops.roi_align_forward(*[torch.zeros(1)] * 5, 1, 1, 1.0, 0, pool_mode=0, aligned=True)
    with pytest.raises(AttributeError):
        ops.__path__  # noqa: B018  what Python's import system asks a module for


@pytest.mark.skipif(HAS_COMPILED_OPS, reason='mmcv-full has its ops')
def test_an_op_of_mmcv_that_is_refused() -> None:
    from mmcv.ops import soft_nms

    with pytest.raises(NotImplementedError, match='softnms'):
        soft_nms(random_boxes(3), torch.rand(3))


@pytest.mark.skipif(HAS_COMPILED_OPS, reason='mmcv-full has its ops')
def test_mmcv_uses_the_replacement() -> None:
    # By the modules' names: mmcv.ops.nms and mmcv.ops.roi_align are functions as well.
    for name in ('mmcv.ops.nms', 'mmcv.ops.roi_align'):
        assert importlib.import_module(name).ext_module is ops
    assert importlib.util.find_spec('mmcv._ext') is not None


@pytest.mark.skipif(not HAS_COMPILED_OPS, reason='needs compiled ops: make install OPS=1')
@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_equal_to_the_compiled_ops(device: str) -> None:
    from mmcv import _ext

    boxes = random_boxes(300).to(device)
    scores = torch.rand(300, generator=torch.Generator().manual_seed(1)).to(device)
    for offset in (0, 1):
        ours = ops.nms(boxes, scores, iou_threshold=0.5, offset=offset)
        assert ours.tolist() == _ext.nms(boxes, scores, iou_threshold=0.5, offset=offset).tolist()

    features = torch.randn(1, 4, 64, 64, device=device)
    rois = torch.cat([boxes.new_zeros(300, 1), boxes], 1)
    empty = features.new_zeros(0)
    for aligned in (True, False):
        options = dict(
            aligned_height=7,
            aligned_width=7,
            spatial_scale=0.5,
            sampling_ratio=0,
            pool_mode=1,
            aligned=aligned,
        )
        pooled = [features.new_zeros(300, 4, 7, 7) for _ in range(2)]
        gradients = [torch.zeros_like(features) for _ in range(2)]
        for module, output, gradient in zip((ops, _ext), pooled, gradients, strict=True):
            module.roi_align_forward(features, rois, output, empty, empty, **options)
            module.roi_align_backward(pooled[0], rois, empty, empty, gradient, **options)
        torch.testing.assert_close(*pooled)
        torch.testing.assert_close(*gradients)


@pytest.mark.skipif(HAS_COMPILED_OPS, reason='compiled ops name their compiler')
def test_the_environment_report_of_mmcv() -> None:
    """mmcv asks the ops for the compiler that made them."""
    from mmcv.utils import collect_env

    report = collect_env()
    assert report['MMCV Compiler'] == report['MMCV CUDA Compiler'] == 'not compiled (torchvision)'
