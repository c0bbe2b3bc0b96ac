"""A training step on a GPU: as on the CPU, and the host waits no more often than in mmdet's detector."""

import copy
import warnings
from typing import Any

import pytest
import torch
from mmcv.runner import fp16_utils
from pretend_gpu import GPU, pretend_gpu
from torch.utils._pytree import tree_map

from oadp.dp import build_detector


def as_vild(model: Any) -> None:
    model.type = 'ViLD'
    del model['global_head'], model.roi_head['block_head']
    model.roi_head.type = 'ViLDEnsembleRoIHead'
    losses = model.distiller.losses
    for name in [name for name in losses if name != 'loss_clip_objects']:
        losses[name] = None


def as_plain(model: Any) -> None:
    as_vild(model)
    model.type, model.roi_head.type = 'FasterRCNN', 'StandardRoIHead'
    del model['distiller'], model.roi_head['object_head']
    model.roi_head.bbox_head.pop('cls_predictor_cfg')
    model.roi_head.bbox_head.num_classes = 5


def as_oadp(model: Any) -> None:
    pass


def build(config: Any, change: Any) -> Any:
    config = copy.deepcopy(config)
    change(config.model)
    torch.manual_seed(0)
    return build_detector(config).train()


def of_detector(detector: Any, batch: dict, device: torch.device) -> dict:
    if not hasattr(detector, 'hooked_parts'):
        batch = {k: v for k, v in batch.items() if k.startswith(('img', 'gt'))}

    def move(x: Any) -> Any:
        return x.to(device, non_blocking=True) if isinstance(x, torch.Tensor) else x

    return tree_map(move, batch)


def count(detector: Any, batch: dict, waits: list[str]) -> tuple[int, int]:
    """The waits in the second forward, and those for its log."""
    batch = of_detector(detector.to(GPU), batch, GPU)
    detector(**batch)  # reads the steps of the schedules
    waits.clear()
    losses = detector(**batch)
    forward = len(waits)
    detector._parse_losses(losses)
    return forward, len(waits) - forward


@pytest.mark.parametrize('change', [as_vild, as_oadp])
def test_waits_on_the_pretended_gpu(tiny_config, tiny_batch, change):
    detectors = build(tiny_config, as_plain), build(tiny_config, change)
    with pretend_gpu() as waits:
        plain, distilled = (count(detector, tiny_batch, waits) for detector in detectors)
    assert distilled[0] == plain[0] > 0  # forward: mmdet's own
    assert distilled[1] == 1 < plain[1]  # the log, read at once


def test_same_losses_on_the_pretended_gpu(tiny_config, tiny_batch):
    detector = build(tiny_config, as_oadp)
    torch.manual_seed(1)
    _, expected = detector._parse_losses(detector(**tiny_batch))
    detector = build(tiny_config, as_oadp)
    with pretend_gpu():
        detector.to(GPU)
        torch.manual_seed(1)
        _, losses = detector._parse_losses(detector(**of_detector(detector, tiny_batch, GPU)))
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize('change', [as_vild, as_oadp])
@pytest.mark.parametrize('half', [False, True], ids=['float32', 'float16'])
def test_waits_on_a_real_gpu(tiny_config, tiny_batch, change, half: bool):
    device = torch.device('cuda', 0)
    numbers = []
    for detector in (build(tiny_config, as_plain), build(tiny_config, change)):
        detector.to(device)
        if half:
            fp16_utils.wrap_fp16_model(detector)
        batch = of_detector(detector, tiny_batch, device)
        for _ in range(2):  # the first step sets up what the second one uses
            loss, _ = detector._parse_losses(detector(**batch))
            loss.backward()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            torch.cuda.set_sync_debug_mode('warn')
            try:
                loss, _ = detector._parse_losses(detector(**batch))
            finally:
                torch.cuda.set_sync_debug_mode('default')
        numbers.append(sum('synchronizing' in str(w.message) for w in caught))
        assert torch.isfinite(loss)
    assert 0 < numbers[1] <= numbers[0]


@pytest.mark.gpu
def test_same_losses_and_gradients_on_a_real_gpu(tiny_config, tiny_batch):
    """Without a random sample of boxes, which differs on a GPU."""
    for stage in ('rpn', 'rcnn'):
        tiny_config.model.train_cfg[stage].sampler.num = 100_000
    figures = []
    for device in (torch.device('cpu'), torch.device('cuda', 0)):
        detector = build(tiny_config, as_oadp).to(device)
        loss, values = detector._parse_losses(detector(**of_detector(detector, tiny_batch, device)))
        loss.backward()
        head = detector.roi_head._object_head.fc_cls._linear.weight.grad
        figures.append((values, head.cpu()))
    (cpu, cpu_gradient), (gpu, gpu_gradient) = figures
    for name in ('loss_clip_objects', 'loss_clip_blocks', 'loss_block', 'loss_global'):
        assert gpu[name] == pytest.approx(cpu[name], rel=1e-2), name
    similarity = torch.cosine_similarity(gpu_gradient.flatten(), cpu_gradient.flatten(), dim=0)
    assert similarity > 0.999
