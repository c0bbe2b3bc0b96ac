import copy
import json

import pytest
import torch
from mmcv import Config as MMConfig
from mmdet.models import build_detector as build_mmdet_detector

from oadp.dp import build_detector
from oadp.utils.config import to_plain


def test_config_is_not_modified(tiny_config):
    before = copy.deepcopy(to_plain(tiny_config))
    build_detector(tiny_config)
    assert to_plain(tiny_config) == before


def test_sync_bn_without_a_gpu(tiny_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    model = build_detector(tiny_config)
    assert tiny_config.model.neck.norm_cfg.type == 'SyncBN'
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in model.modules())
    norms = [
        m for m in model.roi_head._object_head.modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    assert len(norms) == 4


def test_heads_inherit_the_config_of_the_box_head(tiny_config):
    tiny_config.model.roi_head.object_head.conv_out_channels = 24
    roi_head = build_detector(tiny_config).roi_head
    assert roi_head.bbox_head.shared_convs[0].conv.out_channels == 16
    assert roi_head._object_head.shared_convs[0].conv.out_channels == 24
    assert roi_head._block_head.shared_fcs[1].out_features == 32
    assert roi_head._block_head.fc_cls.prompts == roi_head.bbox_head.fc_cls.prompts


@pytest.mark.parametrize(
    'change,error,match',
    [
        (lambda c: c.pop('model'), ValueError, "no .model; it has .*'categories'"),
        (lambda c: c.pop('categories'), ValueError, "no 'categories' .*; expected 'coco'"),
        (lambda c: c.update(categories='voc'), ValueError, "'voc'.*'coco'"),
        (lambda c: c.model.update(type='OADB'), ValueError, "'OADB': expected 'ViLD', 'OADP'"),
        (
            lambda c: c.model.roi_head.bbox_head.update(num_classes=80),
            ValueError,
            'bbox_head.num_classes is 80, expected 5',
        ),
        (
            lambda c: c.model.global_head.classifier.update(prompts='none.pth'),
            FileNotFoundError,
            'none.pth.*README',
        ),
    ],
    ids=['no model', 'no categories', 'unknown set', 'unknown type', 'count', 'no prompts'],
)
def test_errors(tiny_config, change, error, match):
    change(tiny_config)
    with pytest.raises(error, match=match):
        build_detector(tiny_config)


def test_names_without_prompts(tiny_config, tmp_path):
    path = tmp_path / 'more.json'
    path.write_text(json.dumps(dict(bases=['cat', 'yak'], novels=['emu'])))
    tiny_config.categories = str(path)
    with pytest.raises(ValueError, match=r"no embedding for 2 of 3 categories: \['yak', 'emu'\]"):
        build_detector(tiny_config)


def test_detectors_of_mmdet_need_no_categories(tiny_config):
    model = {k: tiny_config.model[k] for k in ('backbone', 'neck', 'rpn_head')}
    model['train_cfg'] = {k: tiny_config.model.train_cfg[k] for k in ('rpn', 'rpn_proposal')}
    model['test_cfg'] = dict(rpn=tiny_config.model.test_cfg.rpn)
    rpn = build_detector(dict(model=dict(type='RPN', **model)))
    assert type(rpn).__name__ == 'RPN'


def test_in_a_config_of_mmdet(tiny_config, tmp_path):
    """A config of mmdet imports this package by `custom_imports` and is built by mmdet."""
    model = dict(to_plain(tiny_config.model), categories=tiny_config.categories)
    for part in (model['neck'], model['roi_head']['bbox_head']):
        part['norm_cfg'] = dict(type='BN')
    file = tmp_path / 'config.py'
    file.write_text(f"custom_imports = dict(imports=['oadp.dp'])\nmodel = {model!r}\n")
    torch.manual_seed(0)
    theirs = build_mmdet_detector(MMConfig.fromfile(str(file)).model)
    torch.manual_seed(0)
    ours = build_detector(tiny_config)
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    assert all(map(torch.equal, theirs.state_dict().values(), ours.state_dict().values()))


def test_initialization(tiny_config):
    model = build_detector(tiny_config)
    before = model.roi_head.bbox_head.fc_cls._bg_embedding.detach().clone()
    model.init_weights()
    linear = model.roi_head.bbox_head.fc_cls._linear
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.2)  # mmdet's for `fc_cls`
    assert torch.equal(model.roi_head.bbox_head.fc_cls._bg_embedding, before)
    assert (
        before.abs().max() <= (6 / (1 + before.shape[1])) ** 0.5
    )  # the bound of Xavier initialization
