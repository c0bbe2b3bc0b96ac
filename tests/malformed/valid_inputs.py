"""The valid inputs that the malformed ones are made from: small files of all kinds that commands read.

All paths are relative to the folder, so that a copy of it works.
"""

__all__ = ['make_valid_inputs']

import json
import os
import pathlib
import pickle
import shutil

import numpy as np
import torch
from malformed.harness import in_fork
from training_dataset import DIM, make_training_dataset

from oadp.clip.weights import import_clip, save_clip_archive
from oadp.dp.build import build_detector
from oadp.utils.config import load_config

_OAKE = """
clip = 'clip.pt'
precision = 'fp32'
val = dict(dataloader=dict(dataset=dict(
    root='images/val', annFile='val.json', output_dir='out/{kind}/val'{more}), num_workers=0))
"""
_OBJECTS = ", proposal_file='val.pkl', proposal_sorted=True"
_ML = """
categories = 'categories.json'
clip = 'clip.pt'
out = 'ml.pth'
train = dict(features='oake/blocks/train', ann_file='train.3.json')
val = None
num_workers = 0
prompts = dict(context='a photo of a', scaler=20.0, bias=4.0)
loss = dict(weight=640, gamma_neg=4, gamma_pos=0, clip=0.05)
optimizer = dict(lr=5e-2, weight_decay=1e-3)
batch_size = 4
epochs = 1
seed = 0
log_interval = 1
checkpoint_interval = 4
"""


def make_valid_inputs(root: pathlib.Path) -> None:
    """Write ``training_dataset``, with weights, proposals, results, a dump and a bundle."""
    here = pathlib.Path.cwd()
    os.chdir(root)
    try:
        _write()
    finally:
        os.chdir(here)
    big = root.parent / 'big'  # linked, so that copies of the inputs are small
    big.mkdir()
    for name in ('clip.pt', 'w.pth', 'm.pth', 'bundle/model.safetensors'):
        target = big / name.replace('/', '-')
        (root / name).rename(target)
        (root / name).symlink_to(target)


def _write() -> None:
    root = pathlib.Path()
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    for config, weights in (('ov_coco.py', 'w.pth'), ('ov_lvis.py', 'm.pth')):
        torch.manual_seed(0)
        torch.save(dict(state_dict=build_detector(load_config(config)).state_dict()), weights)
    _write_clip()
    for kind in ('globals', 'blocks', 'objects'):
        more = _OBJECTS if kind == 'objects' else ''
        (root / f'oake_{kind}.py').write_text(_OAKE.format(kind=kind, more=more))
    (root / 'ml.py').write_text(_ML)
    images = json.loads((root / 'val.json').read_text())['images']
    (root / 'val.pkl').write_bytes(pickle.dumps([_proposals(image) for image in images]))
    (root / 'words.txt').write_text('cat\nowl\n')
    here = root.resolve()
    in_fork('build_annotations', ['--annotations', 'train.json', '--categories', 'categories.json'], here)  # fmt: skip
    for suffix in ('pkl', 'json'):
        in_fork('dp.test', ['ov_coco.py', 'w.pth', '--out', f'results.{suffix}'], here)
    in_fork('dp.test', ['ov_coco.py', 'w.pth'], here, DUMP='dump')
    in_fork('bundle', ['ov_coco.py', 'w.pth', 'bundle'], here)
    shutil.rmtree('work_dirs')
    # A command that finds one changes its time of use.
    for cache in list(here.rglob('.oadp_cache')):
        shutil.rmtree(cache)
    in_fork('features', ['pack', 'oake/globals/val', 'packed/val.lmdb'], here)


def _write_clip() -> None:
    torch.manual_seed(0)
    model = import_clip().model.CLIP(
        embed_dim=DIM,
        image_resolution=40,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=8,
        context_length=24,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    save_clip_archive(model.eval().requires_grad_(False), pathlib.Path('clip.pt'))


def _proposals(image: dict) -> np.ndarray:
    """(4, 5) boxes that touch the far corner of their image, and objectness."""
    w, h = image['width'], image['height']
    boxes = [[0, 0, w, h], [w / 2, h / 2, w, h], [0, 0, w / 2, h / 2], [5, 5, 30, 30]]
    scores = [[0.9], [0.8], [0.7], [0.6]]
    return np.concatenate([np.array(boxes), np.array(scores)], axis=1).astype(np.float32)
