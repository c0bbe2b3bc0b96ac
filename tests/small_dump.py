"""Create a small dump with its annotations and config, for the fusion search without a detector."""

import json
import pathlib
from typing import NamedTuple

import numpy as np
import torch

from oadp.categories import Categories
from oadp.dp.fusion.records import DumpMeta, DumpWriter, Record

CATEGORIES = Categories(bases=('ant', 'bee', 'cow', 'dog'), novels=('eel', 'fly', 'gnu'))
NMS = dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300)
SIDE = 400  # pixels


class DumpFiles(NamedTuple):
    config: pathlib.Path
    dump: pathlib.Path
    ann_file: pathlib.Path
    num_images: int


def make_small_dump(
    root: pathlib.Path, num_images: int = 24, num_rois: int = 40, skip: tuple[int, ...] = ()
) -> DumpFiles:
    """Write ``config.py``, ``dump/`` and ``instances.json`` below ``root``.

    The object head is the better judge of novel classes and the box head of base ones, so that the
    setting of the fusion matters. Image ids are 10, 20, …; those in ``skip`` get no record.
    """
    rng = np.random.default_rng(0)
    num_all, num_bases = CATEGORIES.num_all, CATEGORIES.num_bases
    (root / 'categories.json').write_text(
        json.dumps(dict(bases=CATEGORIES.bases, novels=CATEGORIES.novels))
    )
    ann_file = root / 'instances.json'
    writer = DumpWriter(
        root / 'dump', DumpMeta(CATEGORIES, NMS, dict(type='OV_COCO', ann_file=str(ann_file)))
    )
    images, annotations = [], []
    for image_id in range(10, 10 * num_images + 1, 10):
        m = int(rng.integers(1, 6))
        sides = rng.uniform(20, 150, (m, 2))
        corners = rng.uniform(0, 1, (m, 2)) * (SIDE - sides)
        labels = rng.integers(0, num_all, m)
        near = rng.integers(0, m, num_rois)
        noise = rng.normal(0, 0.1, (num_rois, 4)) * np.tile(sides[near], 2)
        boxes = np.concatenate([corners, corners + sides], 1)[near] + noise
        boxes = np.sort(boxes.clip(0, SIDE).reshape(-1, 2, 2), 1).reshape(-1, 4)
        logits = rng.normal(0, 1.5, (2, num_rois, num_all + 1))
        novel = labels[near] >= num_bases
        rows = np.arange(num_rois)
        logits[0, rows, labels[near]] += np.where(novel, 0.5, 3)
        logits[1, rows, labels[near]] += np.where(novel, 2.5, 1)
        logits[1, :, -1] = -np.inf
        tensors = (torch.from_numpy(a).float() for a in (boxes, *logits, rng.random(num_rois)))
        if image_id not in skip:
            writer.write(image_id, Record(*tensors))
        images.append(dict(id=image_id, width=SIDE, height=SIDE, file_name=f'{image_id}.jpg'))
        for corner, side, label in zip(corners, sides, labels, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=int(label),
                    bbox=[*corner.tolist(), *side.tolist()],
                    area=float(side.prod()),
                    iscrowd=0,
                )
            )
    names = [dict(id=i, name=name) for i, name in enumerate(CATEGORIES.all_)]
    ann_file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=names)))
    config = root / 'config.py'
    config.write_text(
        f"categories = '{root / 'categories.json'}'\n"
        f"validator = dict(dataloader=dict(dataset=dict(type='OV_COCO', ann_file='{ann_file}')))\n"
    )
    return DumpFiles(config, root / 'dump', ann_file, num_images)
