"""The losses, gradients and detections are compared with those of the reference implementation."""

import pathlib

import numpy as np
import pytest
import torch
from mmdet.core import BitmapMasks

from oadp.dp import build_detector
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ('vild_ov_coco', 'oadp_ov_coco', 'oadp_ov_lvis')


def thin(config):
    """Return a shipped config with fewer channels and without random sampling, as recorded."""
    model = config.model
    model.backbone.update(dict(depth=18, base_channels=16))
    model.neck.update(dict(in_channels=[16, 32, 64, 128], out_channels=32))
    model.rpn_head.update(dict(in_channels=32, feat_channels=32))
    roi_head = model.roi_head
    roi_head.bbox_roi_extractor.out_channels = 32
    roi_head.bbox_head.update(dict(in_channels=32, fc_out_channels=64, conv_out_channels=32))
    if 'global_head' in model:
        model.global_head.classifier.in_features = 32
    if 'mask_head' in roi_head:
        roi_head.mask_roi_extractor.out_channels = 32
        roi_head.mask_head.update(dict(in_channels=32, conv_out_channels=32))
    model.train_cfg.rpn.sampler.num = model.train_cfg.rcnn.sampler.num = 1000000
    for stage in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        stage.update(dict(nms_pre=200, max_per_img=100))
    return config


def meta(entry, pad_shape):
    return dict(
        ori_shape=tuple(entry['ori_shape']),
        img_shape=tuple(entry['img_shape']),
        pad_shape=tuple(pad_shape),
        scale_factor=np.array(entry['scale_factor'], dtype=np.float32),
        flip=False,
        flip_direction=None,
        filename=entry['filename'],
    )


@pytest.fixture(scope='module', params=CONFIGS)
def recorded(request, golden, tmp_path_factory):
    """The recorded values, and the detector with the recorded weights."""
    patch = pytest.MonkeyPatch()
    root = tmp_path_factory.mktemp(request.param)
    prompts = root / 'data' / 'prompts'
    prompts.mkdir(parents=True)
    for file in (
        golden / 'expected/prompts/vild.pth',
        golden / 'expected/prompts/detpro_lvis.pth',
        golden / 'world/data/prompts/ml_coco.pth',
    ):
        (prompts / file.name).symlink_to(file)
    config = thin(load_config(ROOT / 'configs' / 'dp' / f'{request.param}.py'))
    patch.chdir(root)
    detector = build_detector(config)
    patch.undo()
    folder = golden / 'expected' / 'dp'
    weights = torch.load(folder / f'{request.param}.weights.pth')
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    detector.load_state_dict(weights)
    return torch.load(folder / f'{request.param}.golden.pth'), detector


# Run before the losses, as training steps change the statistics of BatchNorm.
@torch.no_grad()
def test_detections(recorded):
    values, detector = recorded
    detector.eval()
    for sample, expected in zip(values['val'], values['detections'], strict=True):
        img = sample['img'].float()
        (result,) = detector(
            return_loss=False,
            rescale=True,
            img=[img],
            img_metas=[[meta(sample, (*img.shape[-2:], 3))]],
        )
        boxes = result[0] if detector.with_mask else result
        labels = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
        got = torch.from_numpy(np.concatenate(boxes))
        same = torch.from_numpy(labels)[:, None] == expected['labels']
        pixels = (got[:, None, :4] - expected['boxes'][:, :4]).abs().amax(2)
        scores = (got[:, None, 4] - expected['boxes'][:, 4]).abs()
        found = (same & (pixels < 0.01) & (scores < 1e-5)).any(0)
        # Rounding can change the suppression of a box whose IoU is close to the threshold.
        assert found.float().mean() > 0.99
        if detector.with_mask and found.all():
            areas = torch.tensor([float(m.sum()) for masks in result[1] for m in masks])
            torch.testing.assert_close(
                areas.sort().values, expected['mask_areas'].sort().values, rtol=0.01, atol=20
            )


def test_losses_and_gradients(recorded):
    values, detector = recorded
    detector.train()
    batch = dict(values['batch'], img=values['batch']['img'].float())
    if 'gt_masks' in batch:
        batch['gt_masks'] = [BitmapMasks(m.numpy(), *m.shape[1:]) for m in batch['gt_masks']]
    metas = [meta(m, m['pad_shape']) for m in values['metas']]
    for expected in values['losses']:  # three steps of the warm-up
        losses = detector.forward_train(img_metas=metas, **batch)
        assert set(losses) == set(expected)
        for name, value in expected.items():
            got = losses[name]
            got = [float(x.detach()) for x in (got if isinstance(got, list) else [got])]
            want = value if isinstance(value, list) else [value]
            assert got == pytest.approx(want, rel=1e-4, abs=1e-7), name
    loss, _ = detector._parse_losses(losses)
    detector.zero_grad()
    loss.backward()
    norms = {n: float(p.grad.norm()) for n, p in detector.named_parameters() if p.grad is not None}
    assert set(norms) == set(values['grad_norms'])
    for name, value in values['grad_norms'].items():
        assert norms[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
