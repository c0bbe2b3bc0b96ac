"""Create a small dump with its annotations and config, for the fusion search without a detector."""

import json
import pathlib
from collections.abc import Iterator
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

    The object head classifies novel classes better, and the box head base classes, so that the
    setting of the fusion matters. Image ids are 10, 20, …; those in ``skip`` get no record.
    """
    rng = np.random.default_rng(0)
    ann_file = root / 'instances.json'
    dataset = dict(type='OV_COCO', ann_file=str(ann_file))
    writer = DumpWriter(root / 'dump', DumpMeta(CATEGORIES, NMS, dataset))
    image_ids = range(10, 10 * num_images + 1, 10)
    annotations: list[dict] = []
    for image_id in image_ids:
        xywh, labels = _objects(rng)
        record = _record(rng, xywh, labels, num_rois)
        if image_id not in skip:
            writer.write(image_id, record)
        annotations += _annotations(xywh, labels, image_id, len(annotations) + 1)
    _write_annotations(ann_file, image_ids, annotations)
    return DumpFiles(_write_config(root, dataset), root / 'dump', ann_file, num_images)


def _objects(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    m = int(rng.integers(1, 6))
    sides = rng.uniform(20, 150, (m, 2))
    corners = rng.uniform(0, 1, (m, 2)) * (SIDE - sides)
    return np.concatenate([corners, sides], 1), rng.integers(0, CATEGORIES.num_all, m)


def _record(
    rng: np.random.Generator, xywh: np.ndarray, labels: np.ndarray, num_rois: int
) -> Record:
    corners, sides = xywh[:, :2], xywh[:, 2:]
    near = rng.integers(0, len(labels), num_rois)
    noise = rng.normal(0, 0.1, (num_rois, 4)) * np.tile(sides[near], 2)
    boxes = np.concatenate([corners, corners + sides], 1)[near] + noise
    boxes = np.sort(boxes.clip(0, SIDE).reshape(-1, 2, 2), 1).reshape(-1, 4)
    logits = rng.normal(0, 1.5, (2, num_rois, CATEGORIES.num_all + 1))
    novel = labels[near] >= CATEGORIES.num_bases
    rows = np.arange(num_rois)
    logits[0, rows, labels[near]] += np.where(novel, 0.5, 3)
    logits[1, rows, labels[near]] += np.where(novel, 2.5, 1)
    logits[1, :, -1] = -np.inf
    arrays = (boxes, *logits, rng.random(num_rois))
    return Record(*(torch.from_numpy(array).float() for array in arrays))


def _annotations(
    xywh: np.ndarray, labels: np.ndarray, image_id: int, first_id: int
) -> Iterator[dict]:
    for i, (box, label) in enumerate(zip(xywh.tolist(), labels.tolist(), strict=True)):
        yield dict(
            id=first_id + i,
            image_id=image_id,
            category_id=label,
            bbox=box,
            area=box[2] * box[3],
            iscrowd=0,
        )


def _write_annotations(path: pathlib.Path, image_ids: range, annotations: list[dict]) -> None:
    images = [dict(id=i, width=SIDE, height=SIDE, file_name=f'{i}.jpg') for i in image_ids]
    names = [dict(id=i, name=name) for i, name in enumerate(CATEGORIES.all_)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=names)))


def _write_config(root: pathlib.Path, dataset: dict) -> pathlib.Path:
    categories = root / 'categories.json'
    content = dict(bases=CATEGORIES.bases, novels=CATEGORIES.novels)
    categories.write_text(json.dumps(content))
    path = root / 'config.py'
    path.write_text(
        f"categories = '{categories}'\nvalidator = dict(dataloader=dict(dataset={dataset!r}))\n"
    )
    return path
