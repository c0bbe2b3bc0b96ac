"""Create a working directory in the layout of the README: images, annotations, proposals, weights.

The images show colored rectangles and the CLIP has random weights, so the end-to-end test can run all
commands of the README on it within minutes.
"""

import json
import pathlib
import pickle

import numpy as np
import torch
from PIL import Image

from oadp.categories import get_categories

SIZES = ((320, 240), (240, 320), (256, 256), (300, 230))  # width, height in pixels
NUM_TRAIN, NUM_VAL = 6, 4
OBJECTS_PER_IMAGE = 4
PROPOSALS_PER_IMAGE = 12


def make_tiny_dataset(root: pathlib.Path, seed: int = 0) -> None:
    """Write images, annotations, proposals and pretrained weights under ``root``."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for split, first_id, num in (('train', 100, NUM_TRAIN), ('val', 500, NUM_VAL)):
        images = [_make_image(root, f'{split}2017', first_id + 7 * i, rng) for i in range(num)]
        _write_coco(root, split, images)
        _write_lvis(root, split, images)
        for dataset in ('coco', 'lvis'):
            _write_proposals(root, dataset, split, images, rng)
    for split in ('train2017', 'val2017'):
        (root / 'data/lvis_v1' / split).symlink_to(f'../coco/{split}')
    _write_pretrained(root)


def _make_image(root: pathlib.Path, folder: str, image_id: int, rng: np.random.Generator) -> dict:
    width, height = SIZES[image_id % len(SIZES)]
    pixels = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
    boxes = []
    for _ in range(OBJECTS_PER_IMAGE):
        w, h = rng.integers(40, 120, 2)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        pixels[y : y + h, x : x + w] = rng.integers(0, 255, 3)
        boxes.append([int(v) for v in (x, y, w, h)])
    path = root / 'data/coco' / folder / f'{image_id:012d}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)
    return dict(
        id=image_id, file_name=path.name, folder=folder, width=width, height=height, boxes=boxes
    )


def _annotations(images: list[dict], category_ids: list[int]) -> list[dict]:
    annotations = []
    for image in images:
        for x, y, w, h in image['boxes']:
            number = len(annotations)
            annotations.append(
                dict(
                    id=image['id'] * 100 + number,
                    image_id=image['id'],
                    category_id=category_ids[number % len(category_ids)],
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
    return annotations


def _write_json(path: pathlib.Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_coco(root: pathlib.Path, split: str, images: list[dict]) -> None:
    names = get_categories('coco').all_
    # Ids in an order of their own, and one category of neither set, as in COCO's 80.
    ids = {name: 90 - i for i, name in enumerate(names)}
    categories = [dict(id=i, name=n, supercategory='x') for n, i in ids.items()]
    categories.append(dict(id=99, name='parking meter', supercategory='x'))
    used = [ids[n] for n in (names[0], names[50], names[3], names[60], names[7])] + [99]
    _write_json(
        root / f'data/coco/annotations/instances_{split}2017.json',
        dict(
            info={},
            licenses=[],
            images=[{k: m[k] for k in ('id', 'file_name', 'width', 'height')} for m in images],
            annotations=_annotations(images, used),
            categories=categories,
        ),
    )


def _write_lvis(root: pathlib.Path, split: str, images: list[dict]) -> None:
    lvis = get_categories('lvis')
    categories = [
        dict(
            id=i + 1,
            name=name,
            synset=f'{name}.n.01',
            synonyms=[name],
            frequency='f' if name in lvis.bases[:400] else 'c' if name in lvis.bases else 'r',
            image_count=1,
            instance_count=1,
            **{'def': name},
        )
        for i, name in enumerate(sorted(lvis.all_))
    ]
    ids = {c['name']: c['id'] for c in categories}
    used = [ids[n] for n in (*lvis.bases[:3], *lvis.bases[500:502], *lvis.novels[:2])]
    annotations = _annotations(images, used)
    for a in annotations:
        del a['iscrowd']
    records = [
        dict(
            id=m['id'],
            width=m['width'],
            height=m['height'],
            coco_url=f'http://images.cocodataset.org/{m["folder"]}/{m["file_name"]}',
            neg_category_ids=[ids[lvis.bases[10]]],
            not_exhaustive_category_ids=[],
        )
        for m in images
    ]
    _write_json(
        root / f'data/lvis_v1/annotations/lvis_v1_{split}.json',
        dict(info={}, licenses=[], images=records, annotations=annotations, categories=categories),
    )


def _write_proposals(
    root: pathlib.Path, dataset: str, split: str, images: list[dict], rng: np.random.Generator
) -> None:
    proposals = []
    for image in sorted(images, key=lambda m: m['id']):
        x = rng.uniform(0, image['width'] - 60, PROPOSALS_PER_IMAGE)
        y = rng.uniform(0, image['height'] - 60, PROPOSALS_PER_IMAGE)
        w, h = rng.uniform(8, 60, (2, PROPOSALS_PER_IMAGE))
        scores = np.sort(rng.uniform(0, 1, PROPOSALS_PER_IMAGE))[::-1]
        proposals.append(np.stack([x, y, x + w, y + h, scores], axis=1).astype(np.float32))
    folder = root / 'data' / dict(coco='coco', lvis='lvis_v1')[dataset] / 'proposals'
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f'oln_r50_fpn_{dataset}_{split}.pkl', 'wb') as f:
        pickle.dump(proposals, f)


def _write_pretrained(root: pathlib.Path) -> None:
    from oadp import compat

    compat.install()
    from clip.model import CLIP

    for folder in ('pretrained/clip', 'pretrained/detpro', 'data/prompts'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    clip = CLIP(
        embed_dim=512,
        image_resolution=224,
        vision_layers=2,
        vision_width=64,
        vision_patch_size=32,
        context_length=77,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    torch.save(clip.state_dict(), root / 'pretrained/clip/ViT-B-32.pt')
    torch.save(torch.randn(1203, 512), root / 'pretrained/detpro/iou_neg5_ens.pth')
    names = list(get_categories('coco').all_)
    torch.save(
        dict(
            names=names,
            embeddings=torch.nn.functional.normalize(torch.randn(len(names), 512)),
            scaler=torch.tensor(20.0),
            bias=torch.tensor(4.0),
        ),
        root / 'data/prompts/ml_coco.pth',
    )
