"""Figures of small models with formula weights, recorded once: parity tests that need no other files.

The recording was made when every figure of the authors' implementation was reproduced by this code
(docs/results.md), so that a later change of a number is noticed by everyone. Weights are a formula of
the parameter's position, since random generators differ between versions of torch.

Record again, after a change of the numbers that is wanted, with ``python tests/recorded.py``.
"""

import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn

FILE = pathlib.Path(__file__).with_suffix('.json')
NUM_STEPS = 3  # forwards of one batch, for the warm-up of the loss weights


@torch.no_grad()
def fill(module: nn.Module) -> None:
    """Set every parameter and buffer to values that a formula gives."""
    for k, (name, tensor) in enumerate(sorted(module.state_dict().items())):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (0.7 + 0.013 * k) + k)
        wave = wave.reshape(tensor.shape).float()
        if name.endswith('running_var') or (tensor.ndim == 1 and name.endswith('weight')):
            tensor.copy_(1 + 0.2 * wave)
        elif tensor.ndim > 1:
            tensor.copy_(wave * 1.4 / np.sqrt(tensor[0].numel()))
        else:
            tensor.copy_(0.1 * wave)


def wave(*shape: int, start: int = 0) -> torch.Tensor:
    """Values in [−1, 1] without a visible pattern."""
    n = int(np.prod(shape))
    return (
        torch.sin(torch.arange(start, start + n, dtype=torch.float64) ** 1.5).reshape(shape).float()
    )


def boxes(n: int, width: int, height: int, start: int = 0) -> torch.Tensor:
    """(n, 4) xyxy boxes of 12 to 44 pixels within an image."""
    corner = (wave(n, 2, start=start) + 1) / 2 * torch.tensor([width - 44.0, height - 44.0])
    return torch.cat([corner, corner + 28 + 16 * wave(n, 2, start=start + 7)], 1)


def detector_figures(root: pathlib.Path, lvis: bool) -> dict[str, Any]:
    """Losses of three forwards, gradient norms and detections of the tests' small detector."""
    from training_dataset import make_training_dataset

    from oadp.dp import build_detector
    from oadp.utils.config import load_config

    config = load_config(make_training_dataset(root, lvis))
    config.model.train_cfg.rpn.sampler.num = config.model.train_cfg.rcnn.sampler.num = 1000000
    prompts = torch.load(root / 'prompts.pth')
    prompts['embeddings'] = nn.functional.normalize(wave(*prompts['embeddings'].shape), dim=1)
    torch.save(prompts, root / 'prompts.pth')
    detector = build_detector(config)
    fill(detector)
    batch = _batch(prompts['embeddings'].shape, lvis)
    figures: dict[str, Any] = dict(detections=_detections(detector.eval(), batch))
    detector.train()
    figures['losses'] = []
    for _ in range(NUM_STEPS):
        losses = detector.forward_train(**batch)
        figures['losses'].append(
            {k: float((sum(v) if isinstance(v, list) else v).detach()) for k, v in losses.items()}
        )
    detector._parse_losses(losses)[0].backward()
    figures['gradient_norms'] = {
        name: float(p.grad.norm())
        for name, p in detector.named_parameters()
        if p.grad is not None and name.endswith('weight')
    }
    return figures


def _batch(prompts_shape: tuple[int, int], lvis: bool) -> dict[str, Any]:
    from mmdet.core import BitmapMasks

    num_classes, dim = prompts_shape
    width, height = 128, 96
    meta = dict(
        img_shape=(height, width, 3),
        ori_shape=(height, width, 3),
        pad_shape=(height, width, 3),
        scale_factor=np.ones(4, dtype=np.float32),
        flip=False,
        filename='recorded.png',
    )
    unit = nn.functional.normalize
    batch = dict(
        img=2 * wave(2, 3, height, width),
        img_metas=[dict(meta), dict(meta)],
        gt_bboxes=[boxes(3, width, height, 10), boxes(2, width, height, 50)],
        gt_labels=[torch.tensor([0, 1, 2]), torch.tensor([2, 0])],
        clip_objects=[unit(wave(4, dim, start=i), dim=1) for i in (5, 90)],
        object_bboxes=[boxes(4, width, height, i) for i in (110, 140)],
        clip_global=unit(wave(2, dim, start=300), dim=1),
        clip_blocks=[unit(wave(3, dim, start=i), dim=1) for i in (400, 500)],
        block_bboxes=[boxes(3, width, height, i) for i in (600, 650)],
        block_labels=[wave(3, num_classes, start=i) > 0.3 for i in (700, 750)],
    )
    if lvis:
        masks = [np.zeros((len(b), height, width), np.uint8) for b in batch['gt_bboxes']]
        for mask, b in zip(masks, batch['gt_bboxes'], strict=True):
            for plane, (x1, y1, x2, y2) in zip(mask, b.round().int().tolist(), strict=True):
                plane[y1:y2, x1:x2] = 1
        batch['gt_masks'] = [BitmapMasks(mask, height, width) for mask in masks]
    return batch


@torch.no_grad()
def _detections(detector: nn.Module, batch: dict[str, Any]) -> list[list[float]]:
    """Label, box and score of the detections of the first image; with masks, the area as well."""
    (result,) = detector(
        return_loss=False,
        rescale=True,
        img=[batch['img'][:1]],
        img_metas=[batch['img_metas'][:1]],
    )
    by_class, masks = result if isinstance(result, tuple) else (result, None)
    return [
        [label, *row.tolist(), *([] if masks is None else [float(masks[label][i].sum())])]
        for label, rows in enumerate(by_class)
        for i, row in enumerate(rows)
    ]


def feature_figures(root: pathlib.Path, kind: str) -> dict[str, Any]:
    """The records that an extraction of the tests' small images writes, by split and image."""
    from oake_dataset import CONFIGS, make_clip, make_oake_dataset

    from oadp.data.features.stores import open_store
    from oadp.oake import run as command
    from oadp.oake.blocks import Blocks
    from oadp.oake.globals import Globals
    from oadp.oake.objects import Objects
    from oadp.utils.config import load_config
    from oadp.utils.runtime import ProcessInfo

    make_oake_dataset(root)
    clip = make_clip()
    fill(clip)
    torch.save(clip.state_dict(), root / 'pretrained/clip/ViT-B-32.pt')
    config = load_config(CONFIGS[kind], {'.precision': 'fp32'})
    task = dict(globals=Globals, blocks=Blocks, objects=Objects)[kind]
    process = ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
    command.run(task, f'oake/{kind}', config, process)
    figures: dict[str, Any] = {}
    store = open_store(f'data/coco/oake/{kind}/val2017', kind)
    for image_id in store.ids():
        record = store.read(image_id)
        record = record if isinstance(record, dict) else dict(embeddings=record)
        figures[str(image_id)] = {k: v.float().tolist() for k, v in record.items()}
    return figures


def main() -> None:
    import os

    figures: dict[str, Any] = {}
    for name in ('ov_coco', 'ov_lvis', 'globals', 'blocks', 'objects'):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            root = pathlib.Path(folder)
            if name in ('ov_coco', 'ov_lvis'):
                figures[name] = detector_figures(root, name == 'ov_lvis')
            else:
                figures[name] = feature_figures(root, name)
    text = json.dumps(figures, default=float)
    FILE.write_text(text + '\n')
    print(f'{FILE}: {len(text)} characters')


if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main()
