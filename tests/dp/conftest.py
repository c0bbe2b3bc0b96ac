"""A small detector for unit tests, from the shipped config fragments."""

import json
import pathlib

import pytest
import torch
from todd import Config

import oadp.dp  # noqa: F401  before any test imports mmdet, which needs its adapters
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ('cat', 'dog', 'cow', 'fox', 'owl')
NUM_BASES = 3
DIM = 16


@pytest.fixture
def tiny_config(tmp_path: pathlib.Path) -> Config:
    """OADP on three base and two novel categories, with 16-dimensional embeddings."""
    torch.manual_seed(0)
    categories = tmp_path / 'categories.json'
    categories.write_text(json.dumps(dict(bases=NAMES[:NUM_BASES], novels=NAMES[NUM_BASES:])))
    prompts = tmp_path / 'prompts.pth'
    embeddings = torch.nn.functional.normalize(torch.randn(len(NAMES) + 1, DIM), dim=1)
    torch.save(dict(names=['extra', *reversed(NAMES)], embeddings=embeddings), prompts)

    config = load_config(ROOT / 'configs' / 'dp' / 'models' / 'oadp.py')
    config.categories = str(categories)
    model = config.model
    model.backbone.update(dict(depth=18, base_channels=8, frozen_stages=-1, norm_eval=False))
    model.neck.update(dict(in_channels=[8, 16, 32, 64], out_channels=16))
    model.rpn_head.update(dict(in_channels=16, feat_channels=16))
    roi_head = model.roi_head
    roi_head.bbox_roi_extractor.out_channels = 16
    roi_head.bbox_head.update(dict(in_channels=16, fc_out_channels=32, conv_out_channels=16))
    roi_head.bbox_head.cls_predictor_cfg.prompts = str(prompts)
    model.global_head.classifier.update(dict(prompts=str(prompts), in_features=16))
    for stage in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        stage.update(dict(nms_pre=50, max_per_img=20))
    return config


@pytest.fixture
def tiny_batch() -> dict:
    """The output of a training pipeline for two images of 64 × 96 pixels."""
    generator = torch.Generator().manual_seed(1)

    def boxes(n: int) -> torch.Tensor:
        corner = torch.rand(n, 2, generator=generator) * torch.tensor([56.0, 24.0])
        size = 8 + torch.rand(n, 2, generator=generator) * 32
        return torch.cat([corner, corner + size], 1)

    def features(n: int) -> torch.Tensor:
        x = torch.randn(n, DIM, generator=generator)
        return torch.nn.functional.normalize(x, dim=1).half()

    meta = dict(
        img_shape=(64, 96, 3),
        ori_shape=(32, 48, 3),
        pad_shape=(64, 96, 3),
        scale_factor=torch.full((4,), 2.0).numpy(),
        flip=False,
    )
    return dict(
        img=torch.randn(2, 3, 64, 96, generator=generator),
        img_metas=[dict(meta), dict(meta)],
        gt_bboxes=[boxes(2), boxes(1)],
        gt_labels=[torch.tensor([0, 2]), torch.tensor([1])],
        clip_global=features(2),
        clip_objects=[features(4), features(3)],
        object_bboxes=[boxes(4), boxes(3)],
        clip_blocks=[features(3), features(2)],
        block_bboxes=[boxes(3), boxes(2)],
        block_labels=[torch.rand(n, len(NAMES), generator=generator) < 0.4 for n in (3, 2)],
    )
