"""Seconds for one setting of the score fusion, against mmdet's NMS and pycocotools.

    python benchmarks/fusion.py [--images 500] [--rois 300] [--repeat 3]

A made-up dump of COCO's shape (65 classes) is written to a temporary folder. Both ways begin with
the same records and end with the same metrics, which are compared. The last line is a JSON object:
``ratio`` is plain seconds / seconds of the search, whose ground truth is prepared beforehand as in a
search of many settings; preparing it is given as ``prepare_s``.
"""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile
import time

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from oadp.categories import Categories, get_categories
from oadp.dp.evaluation import GroundTruth
from oadp.dp.fusion.records import Dump, DumpMeta, DumpWriter, Record
from oadp.dp.fusion.scores import FusionParameters, fuse_scores
from oadp.dp.fusion.trial import FusionSearch

TEMPERATURE = 0.01
NMS = dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300)
WIDTH, HEIGHT = 640, 480  # pixels
SETTING = FusionParameters(bbox_novel_gamma=0.5, object_novel_scaler=0.9, objectness_gamma=0.2)


def make_image(
    rng: np.random.Generator, num_rois: int, categories: Categories
) -> tuple[np.ndarray, np.ndarray, Record]:
    """Objects (m, 4) xywh with labels (m,), and RoIs gathered around them."""
    m = int(rng.integers(2, 13))
    sides = np.exp(rng.uniform(np.log(12), np.log(300), (m, 2)))
    corners = rng.uniform(0, 1, (m, 2)) * np.maximum([WIDTH, HEIGHT] - sides, 1)
    objects, labels = np.concatenate([corners, sides], 1), rng.integers(0, categories.num_all, m)

    near = rng.integers(0, m, num_rois)
    noise = rng.normal(0, 0.2, (num_rois, 4)) * np.tile(sides[near], (1, 2))
    xywh = objects[near] + noise
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + np.abs(xywh[:, 2:]) + 2], 1)
    xyxy = xyxy.clip(0, [WIDTH, HEIGHT] * 2)
    # Cosines of text and image embeddings lie in a narrow band; the right class stands out a little.
    logits = rng.normal(0.2, 0.02, (2, num_rois, categories.num_all + 1))
    logits[:, np.arange(num_rois), labels[near]] += rng.normal(0.03, 0.02, (2, num_rois))
    logits[0, :, -1] += 0.04
    logits /= TEMPERATURE
    logits[1, :, -1] = -np.inf
    bbox_logits, object_logits = torch.from_numpy(logits).float()
    boxes = torch.from_numpy(xyxy).float()
    return objects, labels, Record(boxes, bbox_logits, object_logits, torch.rand(num_rois))


def make_dump(root: pathlib.Path, num_images: int, num_rois: int) -> pathlib.Path:
    """Write the records to ``root``; returns the annotation file."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    categories = get_categories('coco')
    ann_file = root / 'instances.json'
    writer = DumpWriter(root, DumpMeta(categories, NMS, dict(type='OV_COCO', ann_file=ann_file)))
    images, annotations = [], []
    for image_id in range(num_images):
        objects, labels, record = make_image(rng, num_rois, categories)
        writer.write(image_id, record)
        images.append(dict(id=image_id, width=WIDTH, height=HEIGHT, file_name=''))
        for box, label in zip(objects.tolist(), labels.tolist(), strict=True):
            area = box[2] * box[3]
            annotation = dict(image_id=image_id, category_id=label, bbox=box, area=area, iscrowd=0)
            annotations.append(dict(annotation, id=len(annotations) + 1))
    names = [dict(id=i, name=name) for i, name in enumerate(categories.all_)]
    ann_file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=names)))
    return ann_file


def evaluate_plainly(dump: Dump, coco: COCO) -> dict[str, float]:
    """mmdet's class-wise NMS and pycocotools; novel, base and all AP50."""
    from mmdet.core import multiclass_nms  # needs what importing oadp.dp puts in place

    results = []
    for image_id in dump.image_ids():
        record = dump.read(image_id)
        scores = fuse_scores(*record[1:3], dump.meta.is_base, SETTING, record.objectness)
        boxes, labels = multiclass_nms(
            record.boxes, scores, NMS['score_thr'], NMS['nms'], NMS['max_per_img']
        )
        for (x1, y1, x2, y2, score), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append(dict(image_id=image_id, category_id=label, bbox=box, score=score))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(coco, coco.loadRes(results), 'bbox')
        evaluator.params.maxDets = [100, 300, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval['precision'][0, :, :, 0, -1]
    num_bases = dump.meta.categories.num_bases
    splits = dict(all=precision, base=precision[:, :num_bases], novel=precision[:, num_bases:])
    return {f'{k}_AP50': float(v[v > -1].mean()) for k, v in splits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=500)
    parser.add_argument('--rois', type=int, default=300)
    parser.add_argument('--repeat', type=int, default=3, help='of the search; the median is given')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ann_file = make_dump(pathlib.Path(folder), args.images, args.rois)
        dump = Dump(folder)
        start = time.perf_counter()
        ground_truth = GroundTruth(ann_file, dump.meta.categories)
        search = FusionSearch(dump, ground_truth)
        prepare_s = time.perf_counter() - start
        seconds = []
        for _ in range(args.repeat):
            start = time.perf_counter()
            found = search.evaluate(SETTING)
            seconds.append(time.perf_counter() - start)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(ann_file)
        start = time.perf_counter()
        plain = evaluate_plainly(dump, coco)
        plain_s = time.perf_counter() - start
    figures = {name: found[ground_truth.metric(name)] for name in plain}
    worst = max(abs(figures[name] - plain[name]) for name in plain)
    print(f'search {figures}\nplain  {plain}\nlargest difference {worst:.1e}')
    search_s = sorted(seconds)[len(seconds) // 2]
    print(
        json.dumps(
            dict(
                ratio=plain_s / search_s,
                search_s=search_s,
                plain_s=plain_s,
                prepare_s=prepare_s,
                difference=worst,
                threads=torch.get_num_threads(),
            )
        )
    )
    if worst > 1e-4:
        raise SystemExit('the two ways disagree')


if __name__ == '__main__':
    main()
