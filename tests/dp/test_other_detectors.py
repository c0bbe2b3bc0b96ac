"""The configs under ``configs/dp/others`` train two steps and are tested, with few channels."""

import copy
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmdet.models import DETECTORS
from mmdet.models.roi_heads import CascadeRoIHead
from training_dataset import ROOT, make_training_dataset, thin_config

from oadp import Detector
from oadp.dp import build_detector, test, train
from oadp.utils.config import dump_config, load_config

FOLDER = ROOT / 'configs/dp/others'
RESNET = dict(depth=18, base_channels=8, frozen_stages=-1, init_cfg=None)


def dicts(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from dicts(value)


def shrink_cascade(model: Any) -> None:
    model.backbone.update(RESNET)
    model.neck.in_channels = [8, 16, 32, 64]


def shrink_swin(model: Any) -> None:
    model.backbone.update(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
    model.backbone.init_cfg = None
    model.neck.in_channels = [8, 16, 32, 64]


def shrink_c4(model: Any) -> None:
    """``ResLayer`` has a fixed number of channels: 256 to 512 with the blocks of a ResNet-18."""
    model.backbone.update({**RESNET, 'base_channels': 64})
    model.roi_head.shared_head.update(depth=18, init_cfg=None)
    model.roi_head.bbox_head.in_channels = 512
    model.rpn_head.in_channels = model.roi_head.bbox_roi_extractor.out_channels = 256
    model.global_head.classifier.in_features = 256


SHRINK = dict(
    cascade_rcnn_r50_fpn=shrink_cascade,
    faster_rcnn_r101_fpn=shrink_cascade,
    faster_rcnn_swin_t_fpn=shrink_swin,
    faster_rcnn_r50_c4=shrink_c4,
)


def thin(root: pathlib.Path, name: str) -> Any:
    config = thin_config(root, ROOT / 'configs/dp/oadp_ov_coco.py')
    shipped = load_config(FOLDER / f'{name}.py')
    config.model, config.trainer.optimizer = shipped.model, shipped.trainer.optimizer
    model = config.model
    if model.neck is not None:
        model.neck.out_channels = 16
        model.roi_head.bbox_roi_extractor.out_channels = 16
        model.rpn_head.in_channels = model.global_head.classifier.in_features = 16
    model.rpn_head.feat_channels = 16
    for node in dicts(model):
        if 'prompts' in node:
            node.update(type='ViLDClassifier', prompts=str(root / 'prompts.pth'))
        if node.get('type') == 'Shared4Conv1FCBBoxHead':
            node.update(in_channels=16, fc_out_channels=32, conv_out_channels=16)
    for stage in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        stage.update(nms_pre=50, max_per_img=20)
    model.test_cfg.rcnn.max_per_img = 20
    for node in dicts(model.train_cfg.rcnn):
        if node.get('type') == 'RandomSampler':
            node['num'] = 16
    SHRINK[name](model)
    config.trainer.runner.max_iters = 2
    config.trainer.evaluation = None
    return config


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('others')
    make_training_dataset(root)
    for name in SHRINK:
        dump_config(thin(root, name), root / f'{name}.py')
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def test_every_config_is_tested():
    assert set(SHRINK) == {file.stem for file in FOLDER.glob('*.py')}


def test_every_config_is_in_the_table_of_the_documentation():
    text = (ROOT / 'docs/method.md').read_text()
    assert [name for name in SHRINK if f'configs/dp/others/{name}.py' not in text] == []


@pytest.mark.parametrize(
    'name',
    [
        # The layers of C4's shared head cannot be thinned.
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith('c4') else [])
        for name in SHRINK
    ],
)
def test_train_and_test(here: pathlib.Path, name: str):
    train.main([name, f'{name}.py'])
    [log] = (here / 'work_dirs' / name).glob('*.log.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    first, second = (row for row in rows if row.get('mode') == 'train')
    distilled = {'objects', 'blocks', 'block_relations', 'global'}
    assert {f'loss_clip_{kind}' for kind in distilled} | {'loss_block', 'loss_global'} <= set(first)
    # At the first step the weights of the distillation losses are zero, and later they are not.
    assert all(second[f'loss_clip_{kind}'] > 0 for kind in distilled)
    checkpoint = here / 'work_dirs' / name / 'iter_2.pth'
    test.main([f'{name}.py', str(checkpoint), '--out-json', f'{name}.json'])
    assert 0 <= json.loads((here / f'{name}.json').read_text())['COCO_2_bbox_mAP_50'] <= 1
    detector = Detector.from_checkpoint(f'{name}.py', checkpoint, device='cpu')
    assert len(detector('images/val/000000000021.png', 0.0, 7)) == 7


def test_the_named_detector_is_the_host(here: pathlib.Path):
    detector = build_detector(load_config('cascade_rcnn_r50_fpn.py'))
    assert isinstance(detector, DETECTORS.get('CascadeRCNN'))
    assert isinstance(detector, DETECTORS.get('OADP'))
    assert len(detector.roi_head.bbox_head) == 3
    copied = copy.deepcopy(detector)
    assert type(copied) is type(detector)
    keys = set(detector.state_dict())
    for part in ('_block_head', '_object_head', 'bbox_head.2'):
        assert f'roi_head.{part}.fc_cls._linear.weight' in keys


@torch.no_grad()
def test_the_cascade_refines_boxes_and_averages_logits(here: pathlib.Path):
    """As mmdet's own cascade does, whose scores are the softmax of the box heads alone."""
    torch.manual_seed(0)
    detector = build_detector(load_config('cascade_rcnn_r50_fpn.py')).eval()
    head = detector.roi_head
    features = detector.extract_feat(torch.randn(2, 3, 64, 96))
    corners = torch.rand(2, 9, 2) * 30
    proposals = [torch.cat([c, c + 20, torch.rand(9, 1)], dim=1) for c in corners]
    meta = dict(img_shape=(64, 96, 3), ori_shape=(64, 96, 3), scale_factor=1.0)
    predictions = head.predict_logits(features, proposals, [meta, meta])
    assert predictions[0].object_logits.shape == (9, 6)
    head._object_head = None
    ours = head.simple_test(features, proposals, [meta, meta])
    theirs = CascadeRoIHead.simple_test(head, features, proposals, [meta, meta])
    for one, other in zip(ours, theirs, strict=True):
        assert sum(map(len, one)) > 5
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-4)


def changed(name: str, **changes: Any) -> Any:
    config = load_config(f'{name}.py')
    for key, value in changes.items():
        *parents, last = key.split('__')
        node = config.model
        for parent in parents:
            node = node[parent]
        node[last] = value
    return config


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(detector='CascadeRcnn'), "model.detector is 'CascadeRcnn': expected a two-stage"),
        (dict(detector='RetinaNet'), "model.detector is 'RetinaNet', which trains by a forward"),
        (dict(detector='SparseRCNN'), 'TwoStageDetector.forward_train'),
        (dict(roi_head__type='CascadeRoIHead'), 'model.roi_head is CascadeRoIHead, which lacks'),
        (dict(roi_head__type='ViLDCascadeRoIHead'), 'expected a subclass of BlockLevel'),
        (dict(roi_head__mask_head=dict(type='FCNMaskHead')), 'expected no mask_head'),
        (
            dict(
                roi_head__object_head=dict(
                    type='Shared4Conv1FCObjectBBoxHead', cls_predictor_cfg=dict(type='Linear')
                )
            ),
            'Shared4Conv1FCObjectBBoxHead: expected a classifier of text embeddings .* found Linear; set cls_predictor',
        ),
        (
            dict(roi_head__object_head=None),
            'loss_clip_objects is computed from the hook .* has no such part',
        ),
    ],
)
def test_what_a_part_lacks_is_said(here: pathlib.Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        build_detector(changed('cascade_rcnn_r50_fpn', **changes))


def test_a_roi_head_of_mmdet_is_refused(here: pathlib.Path):
    config = load_config('faster_rcnn_r101_fpn.py')
    config.model.roi_head.type = 'StandardRoIHead'
    del config.model.roi_head['object_head'], config.model.roi_head['block_head']
    with pytest.raises(
        ValueError,
        match='model.roi_head is StandardRoIHead, which lacks the heads of OADP: .*OADPRoIHead',
    ):
        build_detector(config)
