"""COCO's average precision, summarised over all, base and novel categories.

All categories are matched together, once; a summary is a mean over columns of the same precision
array, so base and novel figures cost nothing more. The array is COCO's own (pycocotools), indexed
[IoU threshold, recall, category, area, limit of detections].
"""

__all__ = ['MAX_DETECTIONS', 'coco_metrics', 'coco_precision', 'metric_prefixes']

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...categories import Categories

MAX_DETECTIONS = (100, 300, 1000)
"""Limits of detections an image. pycocotools computes mAP at the first, all others at the last."""

_AREAS = ('all', 'small', 'medium', 'large')
_ITEMS: dict[str, tuple[float | None, str, int]] = {
    '': (None, 'all', 0),
    '50': (0.5, 'all', -1),
    '75': (0.75, 'all', -1),
    's': (None, 'small', -1),
    'm': (None, 'medium', -1),
    'l': (None, 'large', -1),
}
"""Name of a figure: IoU threshold (None: 0.5 to 0.95), area, index into ``MAX_DETECTIONS``."""


def metric_prefixes(categories: Categories) -> dict[str, str]:
    """What the metrics over all, base and novel categories begin with.

    >>> from oadp.categories import get_categories
    >>> metric_prefixes(get_categories('coco'))
    {'all': 'COCO_48_17_', 'base': 'COCO_48_', 'novel': 'COCO_17_'}
    """
    bases, novels = categories.num_bases, categories.num_novels
    base, novel = f'COCO_{bases}_', f'COCO_{novels}_'
    if bases == novels:  # the counts alone would not tell them apart
        base, novel = f'{base}base_', f'{novel}novel_'
    prefixes = dict(all=f'COCO_{bases}_{novels}_', base=base, novel=novel)
    return prefixes if novels else dict(all=prefixes['all'], base=base)


def coco_metrics(
    precision: np.ndarray, categories: Categories, metric: str = 'bbox'
) -> dict[str, float | str]:
    """Summaries of a precision array.

    Args:
        precision: (10, 101, C, 4, 3), see the module; -1 where a category has no ground truth.
        categories: the C categories, in the array's order.
        metric: ``bbox`` or ``segm``, a part of the names.

    Returns:
        By name, such as ``COCO_17_bbox_mAP_50``: fractions in [0, 1], or -1 where there was no
        ground truth; ``…_copypaste`` is the six of them as text.
    """
    subsets = dict(
        all=slice(None),
        base=slice(categories.num_bases),
        novel=slice(categories.num_bases, None),
    )
    metrics: dict[str, float | str] = {}
    for subset, prefix in metric_prefixes(categories).items():
        values = {
            item: _mean_precision(precision[:, :, subsets[subset]], *query)
            for item, query in _ITEMS.items()
        }
        metrics |= {f'{prefix}{metric}_mAP_{item}': value for item, value in values.items()}
        metrics[f'{prefix}{metric}_mAP_copypaste'] = ' '.join(f'{v:.4f}' for v in values.values())
    return metrics


def _mean_precision(precision: np.ndarray, iou: float | None, area: str, limit: int) -> float:
    values = precision[:, :, :, _AREAS.index(area), limit]
    if iou is not None:
        values = values[round((iou - 0.5) / 0.05)]
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def coco_precision(
    coco: COCO,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    results: Sequence[Any],
    metric: str = 'bbox',
) -> np.ndarray:
    """COCO's precision array of detections.

    Args:
        coco: the ground truth.
        image_ids: of the images, in the order of ``results``.
        category_ids: by label.
        results: mmdet's, one an image: by label (n, 5) arrays xyxy and score; for ``segm`` a pair
            of that and, by label, n run-length encoded masks.
        metric: ``bbox`` or ``segm``.

    Returns:
        (10, 101, C, 4, 3), categories by label.

    Raises:
        ValueError: unknown metric, another number of results, or no masks for ``segm``.
    """
    if metric not in ('bbox', 'segm'):
        raise ValueError(f'unknown metric {metric!r}; choose from bbox, segm')
    if len(results) != len(image_ids):
        raise ValueError(f'{len(results)} results of {len(image_ids)} images')
    detected = COCO()
    detected.dataset = dict(
        images=[coco.imgs[i] for i in image_ids],  # with their sizes, which masks need
        categories=[dict(id=i) for i in category_ids],
        annotations=list(_annotations(image_ids, category_ids, results, metric)),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each of its steps
        detected.createIndex()
        evaluator = COCOeval(coco, detected, metric)
        evaluator.params.imgIds = list(image_ids)
        evaluator.params.catIds = list(category_ids)
        evaluator.params.maxDets = list(MAX_DETECTIONS)
        evaluator.evaluate()
        evaluator.accumulate()
    columns = np.searchsorted(evaluator.params.catIds, category_ids)  # pycocotools sorts the ids
    return evaluator.eval['precision'][:, :, columns]


def _annotations(
    image_ids: Sequence[int], category_ids: Sequence[int], results: Sequence[Any], metric: str
) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, result in zip(image_ids, results, strict=True):
        boxes, masks = result if isinstance(result, tuple) else (result, None)
        if metric == 'segm' and masks is None:
            raise ValueError('metric segm needs masks, and this detector gives none')
        for label, category_id in enumerate(category_ids):
            for i, (x1, y1, x2, y2, score) in enumerate(boxes[label].tolist()):
                number += 1
                annotation = dict(
                    id=number, image_id=image_id, category_id=category_id, score=score, iscrowd=0
                )
                if metric == 'segm':
                    rle = masks[label][i]
                    annotation |= dict(segmentation=rle, area=float(mask_api.area(rle)))
                else:
                    w, h = x2 - x1, y2 - y1
                    annotation |= dict(bbox=[x1, y1, w, h], area=w * h)
                yield annotation
