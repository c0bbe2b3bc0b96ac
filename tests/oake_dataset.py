"""Create a working directory for extraction: a CLIP of unusual sizes, a few images and their proposals."""

import json
import pathlib
import pickle

import numpy as np
import torch
from PIL import Image

from oadp.clip import weights as clip_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESOLUTION, PATCH, DIM = 40, 8, 16
SIZES = ((90, 64), (64, 90), (40, 40), (39, 100), (90, 66), (128, 47))  # width, height
NUM_PROPOSALS = (7, 0, 3, 12, 5, 1)


def make_clip(resolution: int = RESOLUTION, patch: int = PATCH) -> torch.nn.Module:
    torch.manual_seed(0)
    model = clip_model.import_clip().model.CLIP(
        embed_dim=DIM,
        image_resolution=resolution,
        vision_layers=3,
        vision_width=128,
        vision_patch_size=patch,
        context_length=8,
        vocab_size=64,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    return model.requires_grad_(False).eval()


def make_image(size_wh: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return noise at several scales, so that neither smoothness nor noise hides a mistake."""
    width, height = size_wh
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    coarse = np.asarray(Image.fromarray(coarse).resize(size_wh)).astype(int)
    noise = rng.integers(-60, 60, (height, width, 3))
    return Image.fromarray(np.clip(coarse + noise, 0, 255).astype(np.uint8))


def make_proposals(size_wh: tuple[int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    corner = rng.uniform(0, 0.8, (n, 2)) * size_wh
    side = rng.uniform(5, 40, (n, 2))
    far = np.minimum(corner + side, size_wh)
    return np.concatenate([corner, far, rng.uniform(0, 1, (n, 1))], axis=1).astype(np.float32)


def make_oake_dataset(root: pathlib.Path) -> None:
    """Write six training and six validation images in the layout of the README."""
    rng = np.random.default_rng(0)
    for split, first in (('train', 100), ('val', 700)):
        folder = root / f'data/coco/{split}2017'
        folder.mkdir(parents=True)
        ids = [first + (5 * i) % 6 for i in range(len(SIZES))]
        records, proposals = [], {}
        for image_id, size, n in zip(ids, SIZES, NUM_PROPOSALS, strict=True):
            name = f'{image_id:012d}.png'
            make_image(size, rng).save(folder / name)
            records.append(dict(id=image_id, file_name=name, width=size[0], height=size[1]))
            proposals[image_id] = make_proposals(size, n, rng)
        for kind, content in (
            ('annotations', json.dumps(dict(images=records, annotations=[])).encode()),
            ('proposals', pickle.dumps([proposals[i] for i in sorted(ids)])),
        ):
            name = f'instances_{split}2017.json' if kind == 'annotations' else f'oln_r50_fpn_coco_{split}.pkl'  # fmt: skip
            (root / f'data/coco/{kind}').mkdir(exist_ok=True)
            (root / f'data/coco/{kind}/{name}').write_bytes(content)
    (root / 'pretrained/clip').mkdir(parents=True)
    torch.save(make_clip().state_dict(), root / 'pretrained/clip/ViT-B-32.pt')
    (root / 'configs').symlink_to(ROOT / 'configs')


CONFIGS = dict(
    globals='configs/oake/globals.py',
    blocks='configs/oake/blocks.py',
    objects='configs/oake/objects_coco.py',
)


def read_all(folder: pathlib.Path) -> dict[str, object]:
    """Return the content of every file under a folder, by name."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob('*') if f.is_file()}


def folder(root: pathlib.Path, kind: str, split: str = 'val') -> pathlib.Path:
    """Return the folder to which the records of a split are written."""
    return root / f'data/coco/oake/{kind}/{split}2017'
