"""Create random ground truth and detections, and compute their metrics with pycocotools and lvis-api."""

import contextlib
import copy
import io
import json
import pathlib

import numpy as np
from pycocotools import mask as mask_api

from oadp.categories import Categories
from oadp.dp.evaluation import Detections

CATEGORIES = Categories(bases=tuple('abcd'), novels=tuple('xyz'))
CATEGORY_IDS = [12, 3, 40, 7, 5, 31, 8]  # by label; not ascending
SIDE = 200  # pixels
GROUPS = {'4_3': range(7), '4': range(4), '3': range(4, 7)}


def make_detections(
    rng: np.random.Generator, num_images: int = 30, federated: bool = False, masks: bool = False
) -> tuple[dict, Detections]:
    """Return annotations as a dict, and detections: hits, duplicates, confusions, noise, ties.

    There are crowds, areas that differ from those of the boxes, objects and detections without an
    area, and no object of the last category. Ids of images and annotations are not ascending.
    """
    images, annotations, parts = [], [], []
    num_all = CATEGORIES.num_all
    for image_id in rng.permutation(np.arange(1, num_images + 1) * 3).tolist():
        n = int(rng.integers(1, 9))
        boxes = np.concatenate([rng.uniform(0, 110, (n, 2)), rng.uniform(8, 90, (n, 2))], 1)
        boxes[rng.random(n) < 0.3, 2:] *= 0.3
        labels = rng.integers(0, num_all - 1, n)
        for box, label in zip(boxes, labels, strict=True):
            crowd = int(rng.random() < 0.15) and not federated
            annotation = dict(
                id=10_000 - len(annotations), image_id=image_id, category_id=CATEGORY_IDS[label],
                bbox=box.tolist(), area=float(box[2:].prod() * 0.7), iscrowd=int(crowd),
                segmentation=_polygon(box),
            )  # fmt: skip
            if rng.random() < 0.05:
                annotation['area'] = 0.0
            if crowd and masks:
                annotation['segmentation'] = _run_lengths(box)
            annotations.append(annotation)
        absent = sorted({*range(num_all)} - {*labels.tolist()})
        images.append(
            dict(
                id=image_id, width=SIDE, height=SIDE, file_name=f'{image_id}.jpg',
                neg_category_ids=[CATEGORY_IDS[i] for i in absent[:2]],
                not_exhaustive_category_ids=[CATEGORY_IDS[i] for i in labels[:1]],
            )
        )  # fmt: skip
        parts.append(_detections(rng, image_id, boxes, labels, masks))
    categories = [
        dict(id=i, name=name, frequency='rcf'[label % 3])
        for label, (i, name) in enumerate(zip(CATEGORY_IDS, CATEGORIES.all_, strict=True))
    ]
    data = dict(images=images, annotations=annotations, categories=categories)
    return data, Detections.concatenate(parts)


def _detections(
    rng: np.random.Generator, image_id: int, boxes: np.ndarray, labels: np.ndarray, masks: bool
) -> Detections:
    m, n = int(rng.integers(0, 60 if masks else 130)), len(boxes)
    near = rng.integers(0, n, m)
    xywh = boxes[near] + rng.normal(0, 0.12, (m, 4)) * np.tile(boxes[near, 2:], (1, 2))
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + np.abs(xywh[:, 2:]) + 1], 1)
    xyxy = xyxy.clip(0, SIDE)
    empty = rng.random(m) < 0.05
    xyxy[empty, 2] = xyxy[empty, 0]
    label = np.where(rng.random(m) < 0.6, labels[near], rng.integers(0, CATEGORIES.num_all, m))
    score = np.round(rng.random(m), 2)  # with ties
    encoded = None
    if masks:
        encoded = np.empty(m, object)
        encoded[:] = [mask_api.encode(_bitmap(b[0], b[1], b[2], b[3])) for b in xyxy]
    return Detections(
        np.full(m, image_id), label, xyxy.astype(np.float32), score.astype(np.float32), encoded
    )


def _polygon(xywh: np.ndarray) -> list[list[float]]:
    x, y, w, h = xywh.tolist()
    middle = [x + w / 2, y + h / 2]  # a box without its upper left quarter
    return [[x + w / 2, y, x + w, y, x + w, y + h, x, y + h, x, y + h / 2, *middle]]


def _bitmap(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8, order='F')
    mask[round(y1) : round(y2), round(x1) : round(x2)] = 1
    mask[round(y1) : round((y1 + y2) / 2), round(x1) : round((x1 + x2) / 2)] = 0
    return mask


def _run_lengths(xywh: np.ndarray) -> dict:
    """Return an uncompressed run-length encoding, as for crowds in COCO."""
    x, y, w, h = xywh
    flat = np.concatenate([[0], _bitmap(x, y, x + w, y + h).flatten(order='F'), [2]])
    changes = np.flatnonzero(np.diff(flat) != 0)
    return dict(size=[SIDE, SIDE], counts=np.diff(np.concatenate([[0], changes])).tolist())


def as_results(detections: Detections, metric: str, with_box: bool) -> list[dict]:
    """Return rows in COCO's results format, in the order of ``detections`` within an image and category."""
    order = np.lexsort((detections.labels, detections.image_ids))
    rows = []
    for k in order.tolist():
        x1, y1, x2, y2 = (float(v) for v in detections.boxes[k])
        row = dict(
            image_id=int(detections.image_ids[k]),
            category_id=CATEGORY_IDS[detections.labels[k]],
            score=float(detections.scores[k]),
        )
        if with_box:
            row['bbox'] = [x1, y1, x2 - x1, y2 - y1]
        if metric == 'segm':
            row['segmentation'] = detections.masks[k]
        rows.append(row)
    return rows


def pycocotools_figures(data: dict, detections: Detections, metric: str) -> dict[str, float]:
    """Return the metrics of ``coco_metrics``, computed by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(data)
        coco.createIndex()
        found = coco.loadRes(as_results(detections, metric, with_box=metric == 'bbox'))
        for split, labels in GROUPS.items():
            judge = COCOeval(coco, found, metric)
            judge.params.catIds = [CATEGORY_IDS[label] for label in labels]
            judge.params.maxDets = [100, 300, 1000]
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
            precisions = (f'mAP_{k}' for k in ('', '50', '75', 's', 'm', 'l'))
            recalls = (f'AR_{k}' for k in ('100', '300', '1000', 's', 'm', 'l'))
            names = [f'COCO_{split}_{metric}_{k}' for k in (*precisions, *recalls)]
            figures |= dict(zip(names, judge.stats.tolist(), strict=True))
    return figures


def lvis_figures(path: pathlib.Path, detections: Detections, metric: str) -> dict[str, float]:
    """Return the metrics of lvis-api on a file, by its names."""
    from oadp import compat

    compat.install()
    from lvis import LVIS, LVISEval, LVISResults

    truth = LVIS(str(path))
    rows = as_results(detections, metric, with_box=True)
    judge = LVISEval(truth, LVISResults(truth, rows), metric)
    judge.run()
    return judge.get_results()


def write(data: dict, path: pathlib.Path) -> pathlib.Path:
    """Write annotations, and return the path."""
    path.write_text(json.dumps(data))
    return path
