"""The detectors that ``benchmarks/train.py`` compares, and a batch for them: random weights, random data."""

import logging
import pathlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from detect import DIMENSION, random_prompts
from mmcv.utils import get_logger
from mmdet.core import bbox2roi
from mmdet.models import HEADS, TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from todd.losses.schedulers import BaseScheduler
from torch import Tensor, nn

from oadp.categories import get_categories
from oadp.dp import build_detector
from oadp.dp.models.roi_heads import OADPRoIHead
from oadp.oake.pyramid import levels, whole_image_box
from oadp.utils.config import load_config, to_plain

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs/dp'
LONG_SIDE = 640  # pixels of COCO's images, of which the network sees an enlarged copy
TILE = 224  # pixels, CLIP's input
GROUND_TRUTH = 7  # boxes of an image; COCO has 7.3


@HEADS.register_module()
class SeparatePassesRoIHead(OADPRoIHead):
    """The authors' arrangement: a RoIAlign pass for the samples, one for the objects, one for the blocks."""

    def forward_train(
        self,
        x: Any,
        *args: Any,
        object_bboxes: list[Tensor],
        block_bboxes: list[Tensor],
        block_labels: list[Tensor],
    ) -> dict[str, Tensor]:
        losses = StandardRoIHead.forward_train(self, x, *args)
        extractor = self.bbox_roi_extractor
        levels = x[: extractor.num_inputs]
        self._object_head(extractor(levels, bbox2roi(object_bboxes)))
        logits, _ = self._block_head(extractor(levels, bbox2roi(block_bboxes)))
        losses.update(self._block_head.loss(logits, torch.cat(block_labels)))
        return losses


def _plain(model: dict[str, Any]) -> None:
    """mmdet's Faster R-CNN with the same box head, but a linear classifier: no text embeddings."""
    model['type'] = 'FasterRCNN'
    model.pop('distiller')
    model.pop('global_head')
    roi_head = model['roi_head']
    roi_head['type'] = 'StandardRoIHead'
    roi_head.pop('object_head')
    roi_head.pop('block_head')
    roi_head['bbox_head'].pop('cls_predictor_cfg')
    roi_head['bbox_head']['num_classes'] = get_categories('coco').num_all


def _separate(model: dict[str, Any]) -> None:
    model['roi_head']['type'] = 'SeparatePassesRoIHead'


def _as_it_is(model: dict[str, Any]) -> None:
    pass


VARIANTS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    'plain': ('oadp_ov_coco.py', _plain),
    'vild': ('vild_ov_coco.py', _as_it_is),
    'oadp': ('oadp_ov_coco.py', _as_it_is),
    'separate': ('oadp_ov_coco.py', _separate),
}
"""Name of a detector to the config it is made of, and what changes in it."""


def build(name: str, folder: pathlib.Path, small: bool) -> Any:
    """Build a detector in training mode, with random weights and prompts, which ``folder`` holds."""
    file, change = VARIANTS[name]
    config = to_plain(load_config(CONFIGS / file))
    random_prompts(config['model'], get_categories('coco').all_, folder)
    change(config['model'])
    if small:
        _shrink(config['model'])
    torch.manual_seed(0)
    detector: Any = build_detector(config)
    get_logger('mmcv').setLevel(logging.WARNING)  # it lists each parameter
    detector.init_weights()
    if name == 'separate':
        _read_values_one_by_one(detector)
    return detector.train()


def _shrink(model: dict[str, Any]) -> None:
    model['backbone'].update(depth=18, base_channels=8)
    model['neck'].update(in_channels=[8, 16, 32, 64], out_channels=16)
    model['rpn_head'].update(in_channels=16, feat_channels=16)
    roi_head = model['roi_head']
    roi_head['bbox_roi_extractor'].update(out_channels=16)
    roi_head['bbox_head'].update(in_channels=16, fc_out_channels=32, conv_out_channels=16)
    if 'global_head' in model:
        model['global_head']['classifier'].update(in_features=16)


def _read_values_one_by_one(detector: Any) -> None:
    """Read the steps of the schedules and the losses from the device, each when it is needed."""
    forward_train = detector.forward_train

    def forward(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        with mock.patch.object(BaseScheduler, 'steps', property(lambda self: self._steps.item())):
            return forward_train(*args, **kwargs)

    detector.forward_train = forward
    detector._parse_losses = TwoStageDetector._parse_losses.__get__(detector)


def make_batch(num_images: int, size_wh: tuple[int, int], num_objects: int) -> dict[str, Any]:
    """A batch with as many objects per image as named, and with the blocks of images of COCO's size.

    The boxes are in pixels of the network's input, which is padded to multiples of 32.
    """
    rng = np.random.default_rng(0)
    width, height = size_wh
    padded = [-(-side // 32) * 32 for side in (height, width)]
    meta = dict(
        img_shape=(height, width, 3),
        pad_shape=(*padded, 3),
        ori_shape=(height, width, 3),
        scale_factor=np.ones(4, dtype=np.float32),
        flip=False,
    )
    boxes = [_random_boxes(rng, size_wh, num_objects) for _ in range(num_images)]
    blocks = [_blocks(size_wh)] * num_images
    truth = [_random_boxes(rng, size_wh, GROUND_TRUTH) for _ in range(num_images)]
    categories = get_categories('coco')
    return dict(
        img=torch.from_numpy(rng.standard_normal((num_images, 3, *padded), dtype=np.float32)),
        img_metas=[dict(meta) for _ in range(num_images)],
        gt_bboxes=truth,
        gt_labels=[
            torch.from_numpy(rng.integers(0, categories.num_bases, GROUND_TRUTH)) for _ in truth
        ],
        clip_objects=[_features(len(b), rng) for b in boxes],
        object_bboxes=boxes,
        clip_global=_features(num_images, rng),
        clip_blocks=[_features(len(b), rng) for b in blocks],
        block_bboxes=blocks,
        block_labels=[
            torch.from_numpy(rng.random((len(b), categories.num_all)) < 0.05) for b in blocks
        ],
    )


def _random_boxes(rng: np.random.Generator, size_wh: tuple[int, int], num: int) -> Tensor:
    """(num, 4) xyxy of the sizes of COCO's proposals."""
    size = np.array(size_wh)
    side = np.exp(rng.uniform(np.log(0.02), np.log(0.6), (num, 2))) * size
    corner = rng.uniform(0, 1, (num, 2)) * (size - side)
    return torch.from_numpy(np.concatenate([corner, corner + side], axis=1).astype(np.float32))


def _blocks(size_wh: tuple[int, int]) -> Tensor:
    """(n, 4) xyxy of an image whose longer side has COCO's length, enlarged to a size."""
    ratio = max(size_wh) / LONG_SIDE
    original = round(size_wh[0] / ratio), round(size_wh[1] / ratio)
    tiles = [whole_image_box(original)]
    for level in levels(original, TILE):
        tiles += level.boxes(TILE)
    return torch.tensor(tiles) * ratio


def _features(num: int, rng: np.random.Generator) -> Tensor:
    x = torch.from_numpy(rng.standard_normal((num, DIMENSION), dtype=np.float32))
    return nn.functional.normalize(x, dim=1).half()


def batch_for(detector: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The part of a batch that a detector takes: mmdet's knows no CLIP features."""
    if hasattr(detector, 'hooked_parts'):
        return batch
    return {k: v for k, v in batch.items() if k.startswith(('img', 'gt'))}
