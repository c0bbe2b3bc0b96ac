"""Seconds and memory of an evaluation, against pycocotools and lvis-api.

    python benchmarks/evaluation.py [--images N] [--metrics bbox segm] [--protocols coco lvis]

Random objects and detections of the size of COCO's validation split (5,000 images, 36,000 objects,
100 detections an image of 80 classes) and of LVIS's (19,809 images, 244,000 objects, 300 detections
an image of 1,203 classes). Each way begins with the same arrays and annotations, in a process of its
own; its seconds begin when the data is there and end with the figures, which are compared. Preparing
the ground truth counts in each. Memory is what a process's peak is above what it held before.
At LVIS's full size lvis-api takes a quarter of an hour; ``--images`` takes fewer of both.

The last line is a JSON object: ``ratio_coco`` and ``ratio_lvis`` are the reference's seconds /
ours, of boxes; ``…_segm`` of masks.
"""

import argparse
import contextlib
import copy
import io
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

WIDTH, HEIGHT = 640, 480  # pixels
_SIZES = {  # images, objects an image, detections an image, categories
    'coco': (5000, 7.2, 100, 80),
    'lvis': (19809, 12.3, 300, 1203),
}


def make_world(protocol: str, num_images: int, masks: bool) -> tuple[dict[str, Any], Any]:
    """Make annotations and detections: half of them near objects, most of those of the right class."""
    from oadp.dp.evaluation import Detections

    _, per_image, num_detections, num_categories = _SIZES[protocol]
    rng = np.random.default_rng(0)
    images, annotations, parts = [], [], []
    for image_id in range(1, num_images + 1):
        n = 1 + rng.poisson(per_image - 1)
        sides = np.exp(rng.uniform(np.log(12), np.log(300), (n, 2)))
        corners = rng.uniform(0, 1, (n, 2)) * np.maximum([WIDTH, HEIGHT] - sides, 1)
        objects = np.concatenate([corners, np.minimum(sides, [WIDTH, HEIGHT])], 1)
        present = rng.integers(0, num_categories, rng.integers(1, 5))
        labels = rng.choice(present, n)
        for box, label in zip(objects.tolist(), labels.tolist(), strict=True):
            x, y, w, h = box
            annotation = dict(id=len(annotations) + 1, image_id=image_id, category_id=label + 1,
                              bbox=box, area=w * h, iscrowd=int(rng.random() < 0.01))  # fmt: skip
            if masks:
                annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append(annotation)
        absent = np.setdiff1d(rng.integers(0, num_categories, 12), present) + 1
        images.append(dict(id=image_id, width=WIDTH, height=HEIGHT, neg_category_ids=absent.tolist(),
                           not_exhaustive_category_ids=(present[:1] + 1).tolist()))  # fmt: skip
        near = rng.integers(0, n, num_detections)
        is_hit = rng.random(num_detections) < 0.5
        noise = np.where(is_hit[:, None], 0.15, 1.5) * rng.normal(0, 1, (num_detections, 4))
        xywh = objects[near] + noise * np.tile(objects[near, 2:], (1, 2))
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + np.abs(xywh[:, 2:]) + 2], 1)
        xyxy = xyxy.clip(0, [WIDTH, HEIGHT] * 2).astype(np.float32)
        label = np.where(
            is_hit & (rng.random(num_detections) < 0.7),
            labels[near],
            rng.integers(0, num_categories, num_detections),
        )
        scores = np.sort(rng.random(num_detections).astype(np.float32))[::-1]
        parts.append(
            Detections(np.full(num_detections, image_id), label, xyxy, scores, _encode(xyxy, masks))
        )
    categories = [
        dict(id=i + 1, name=f'class {i}', frequency='rcf'[i % 3]) for i in range(num_categories)
    ]
    data = dict(images=images, annotations=annotations, categories=categories)
    return data, Detections.concatenate(parts)


def _encode(xyxy: np.ndarray, masks: bool) -> np.ndarray | None:
    """Run-length encode filled boxes."""
    if not masks:
        return None
    from pycocotools import mask as mask_api

    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1).astype(np.float64)
    column = np.empty(len(xyxy), object)
    column[:] = mask_api.frPyObjects(xywh, HEIGHT, WIDTH)
    return column


def ours(data: dict[str, Any], detections: Any, protocol: str, metric: str) -> float:
    """Return AP by ``GroundTruth``."""
    from oadp.categories import Categories
    from oadp.dp.evaluation import GroundTruth

    names = tuple(c['name'] for c in data['categories'])
    categories = Categories(bases=names[: len(names) // 2], novels=names[len(names) // 2 :])
    truth = GroundTruth(data, categories, protocol == 'lvis', masks=metric == 'segm')
    metrics = truth.evaluate(detections, metric=metric)
    return next(iter(metrics.values()))


def _rows(detections: Any, metric: str, with_box: bool) -> list[dict[str, Any]]:
    """Return results in the form that pycocotools and lvis-api read."""
    boxes = detections.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = (detections.image_ids.tolist(), (detections.labels + 1).tolist(),
               detections.scores.astype(float).tolist(), boxes.tolist())  # fmt: skip
    rows = [
        dict(image_id=i, category_id=c, score=s, **({'bbox': b} if with_box else {}))
        for i, c, s, b in zip(*columns, strict=True)
    ]
    if metric == 'segm':
        for row, mask in zip(rows, detections.masks, strict=True):
            row['segmentation'] = mask
    return rows


def pycocotools(data: dict[str, Any], detections: Any, protocol: str, metric: str) -> float:
    """Return AP by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.copy(data)
        truth.createIndex()
        found = truth.loadRes(_rows(detections, metric, metric == 'bbox'))
        judge = COCOeval(truth, found, metric)
        judge.params.maxDets = [100, 300, 1000]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval['precision'][:, :, :, 0, 0]
    return float(precision[precision > -1].mean())


def lvis_api(data: dict[str, Any], detections: Any, protocol: str, metric: str) -> float:
    """Return AP by lvis-api."""
    import logging

    from oadp import compat

    compat.install()
    from lvis import LVIS, LVISEval, LVISResults

    truth = LVIS.__new__(LVIS)
    truth.logger, truth.dataset = logging.getLogger('lvis'), data
    truth._create_index()
    judge = LVISEval(truth, LVISResults(truth, _rows(detections, metric, True)), metric)
    judge.run()
    return float(judge.get_results()['AP'])


_WAYS = dict(ours=ours, pycocotools=pycocotools, lvis_api=lvis_api)


def measure(way: str, protocol: str, metric: str, num_images: int) -> None:
    """Print one way's figures; run in a process of its own."""
    data, detections = make_world(protocol, num_images, metric == 'segm')
    import hotcoco  # noqa: F401  modules are loaded before the clock starts
    import pycocotools.cocoeval  # noqa: F401

    memory = _Peak()
    start, cpu = time.perf_counter(), time.process_time()
    ap = _WAYS[way](data, detections, protocol, metric)
    figures = dict(seconds=time.perf_counter() - start, cpu_s=time.process_time() - cpu)
    print(json.dumps(dict(figures, peak_mb=memory.stop(), ap=ap)))


class _Peak:
    """Samples this process's resident memory ten times a second."""

    def __init__(self) -> None:
        self._before, self._peak, self._stopped = _resident(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.02):
            self._peak = max(self._peak, _resident())

    def stop(self) -> float:
        """Return the peak above the beginning, in MB."""
        self._stopped.set()
        self._thread.join()
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peak = max(self._peak, _resident())
        return min(highest, peak) - self._before


def _resident() -> float:
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def compare(protocol: str, metric: str, num_images: int) -> dict[str, Any]:
    """Measure ours and the reference one after the other."""
    reference = dict(coco='pycocotools', lvis='lvis_api')[protocol]
    results = {}
    for way in ('ours', reference):
        with tempfile.TemporaryFile() as errors:
            command = [sys.executable, __file__, '--way', way, '--protocols', protocol]
            command += ['--metrics', metric, '--images', str(num_images)]
            process = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors)
            if process.returncode:
                errors.seek(0)
                raise RuntimeError(f'{way}, {protocol}: {errors.read().decode()[-2000:]}')
        results[way] = json.loads(process.stdout.splitlines()[-1])
        values = ', '.join(f'{k} {v:.4g}' for k, v in results[way].items())
        print(f'{protocol} {metric} {num_images} images, {way}: {values}', flush=True)
    own, other = results['ours'], results[reference]
    return dict(
        images=num_images,
        ratio=other['seconds'] / own['seconds'],
        memory_ratio=own['peak_mb'] / other['peak_mb'],
        difference=abs(own['ap'] - other['ap']),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, help='of each protocol; default: 5,000 and 19,809')
    parser.add_argument('--metrics', nargs='+', choices=('bbox', 'segm'), default=['bbox', 'segm'])
    parser.add_argument('--protocols', nargs='+', choices=tuple(_SIZES), default=list(_SIZES))
    parser.add_argument(
        '--way', choices=tuple(_WAYS), help='measure this one here, for one protocol'
    )
    args = parser.parse_args()
    if args.way:
        measure(args.way, args.protocols[0], args.metrics[0], args.images)
        return
    summary: dict[str, Any] = {}
    for protocol in args.protocols:
        for metric in args.metrics:
            figures = compare(protocol, metric, args.images or _SIZES[protocol][0])
            suffix = protocol if metric == 'bbox' else f'{protocol}_{metric}'
            summary |= {f'{key}_{suffix}': value for key, value in figures.items()}
    print(json.dumps(summary))


if __name__ == '__main__':
    main()
