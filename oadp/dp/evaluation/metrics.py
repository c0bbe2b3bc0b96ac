"""Metrics of COCO and LVIS, each a mean over a part of one array of precisions or recalls.

All categories are matched together, once. The metrics of base, novel, rare, common and frequent
categories are means over their columns and need no further matching.
"""

__all__ = [
    'COCO_LIMITS',
    'LVIS_LIMITS',
    'Curves',
    'Metric',
    'coco_metrics',
    'copypaste',
    'full_name',
    'labels_of_metrics',
    'lvis_metrics',
    'metric_prefixes',
    'spread',
]

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from oadp.categories import Categories

Metric = Literal['bbox', 'segm']
"""Whether boxes or masks are evaluated."""

COCO_LIMITS = (100, 300, 1000)
"""Maximum numbers of detections per image and category. As in pycocotools, mAP is computed at the
first, and the other average precisions at the last."""

LVIS_LIMITS = (300,)
"""Maximum numbers of detections per image."""

FREQUENCIES = ('r', 'c', 'f')

_AREAS = ('all', 'small', 'medium', 'large')
_AP_ITEMS: dict[str, tuple[float | None, str, int]] = {
    '': (None, 'all', 0),
    '50': (0.5, 'all', -1),
    '75': (0.75, 'all', -1),
    's': (None, 'small', -1),
    'm': (None, 'medium', -1),
    'l': (None, 'large', -1),
}
"""By metric: the IoU threshold (None: the mean over 0.5 to 0.95), the size range, and the index of the
limit."""

_AR_AREAS = {'s': 'small', 'm': 'medium', 'l': 'large'}


class Curves(NamedTuple):
    """Precision and recall of C categories; −1 where a category has no ground truth.

    The axes are 10 IoU thresholds (0.5 to 0.95), 101 recalls (0 to 1), categories by label, 4 size
    ranges (all, small, medium, large) and maximum numbers of detections.

    Attributes:
        precision: (10, 101, C, 4, limits), the highest precision at each recall or above.
        recall: (10, C, 4, limits), the highest recall.
    """

    precision: np.ndarray
    recall: np.ndarray

    @classmethod
    def empty(cls, num_categories: int, num_limits: int) -> 'Curves':
        """Return read-only curves that are −1 everywhere and take no memory."""
        shape = (num_categories, len(_AREAS), num_limits)
        return cls(np.broadcast_to(-1.0, (10, 101, *shape)), np.broadcast_to(-1.0, (10, *shape)))

    def average_precision(
        self, labels: slice | Sequence[int], iou: float | None, area: str, limit: int
    ) -> float:
        """Return the mean precision of some categories, or −1 without ground truth.

        Args:
            labels: the labels of the categories.
            iou: one of 0.5, 0.55, …, 0.95; None for the mean over them.
            area: ``all``, ``small``, ``medium`` or ``large``.
            limit: the index of the maximum number of detections.
        """
        return _mean(self.precision[:, :, labels, _AREAS.index(area), limit], iou)

    def average_recall(
        self, labels: slice | Sequence[int], iou: float | None, area: str, limit: int
    ) -> float:
        """Return the mean recall of some categories; see :meth:`average_precision`."""
        return _mean(self.recall[:, labels, _AREAS.index(area), limit], iou)


def spread(curves: Curves, labels: Sequence[int], num_categories: int) -> Curves:
    """Return curves of all categories from those of some; the others are −1.

    Args:
        curves: of n categories.
        labels: (n,) their labels.
        num_categories: the number of all categories.
    """
    empty = Curves.empty(num_categories, curves.recall.shape[-1])
    precision, recall = (array.copy() for array in empty)
    precision[:, :, labels], recall[:, labels] = curves
    return Curves(precision, recall)


def _mean(values: np.ndarray, iou: float | None) -> float:
    if iou is not None:
        values = values[round((iou - 0.5) / 0.05)]
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def metric_prefixes(categories: Categories) -> dict[str, str]:
    """Return the prefixes of the metrics over all, base and novel categories.

    >>> from oadp.categories import get_categories
    >>> metric_prefixes(get_categories('coco'))
    {'all': 'COCO_48_17_', 'base': 'COCO_48_', 'novel': 'COCO_17_'}
    """
    bases, novels = categories.num_bases, categories.num_novels
    base, novel = f'COCO_{bases}_', f'COCO_{novels}_'
    if bases == novels:  # the counts alone do not distinguish them
        base, novel = f'{base}base_', f'{novel}novel_'
    prefixes = dict(all=f'COCO_{bases}_{novels}_', base=base, novel=novel)
    return prefixes if novels else dict(all=prefixes['all'], base=base)


def coco_metrics(curves: Curves, categories: Categories, metric: str = 'bbox') -> dict[str, float]:
    """Return the metrics of COCO over all, base and novel categories.

    Args:
        curves: curves of the C categories at ``COCO_LIMITS``.
        categories: in the order of the curves' columns.
        metric: ``bbox`` or ``segm``, which is a part of the names.

    Returns:
        The values by name, such as ``COCO_17_bbox_mAP_50`` and ``COCO_17_bbox_AR_1000``: fractions
        in [0, 1], or −1 without ground truth.
    """
    subsets = dict(
        all=slice(None),
        base=slice(categories.num_bases),
        novel=slice(categories.num_bases, None),
    )
    metrics: dict[str, float] = {}
    for subset, prefix in metric_prefixes(categories).items():
        labels = subsets[subset]
        for item, query in _AP_ITEMS.items():
            metrics[f'{prefix}{metric}_mAP_{item}'] = curves.average_precision(labels, *query)
        for i, limit in enumerate(COCO_LIMITS):
            recall = curves.average_recall(labels, None, 'all', i)
            metrics[f'{prefix}{metric}_AR_{limit}'] = recall
        for item, area in _AR_AREAS.items():
            recall = curves.average_recall(labels, None, area, -1)
            metrics[f'{prefix}{metric}_AR_{item}'] = recall
    return metrics


def lvis_metrics(
    curves: Curves, frequencies: Sequence[str | None], metric: str = 'bbox'
) -> dict[str, float]:
    """Return the metrics of LVIS over all, rare, common and frequent categories.

    Args:
        curves: curves of the C categories at ``LVIS_LIMITS``.
        frequencies: (C,) of ``r``, ``c``, ``f``.
        metric: ``bbox`` or ``segm``, which is a part of the names.

    Returns:
        The values by name, such as ``bbox_APr`` and ``bbox_AR@300``; see :func:`coco_metrics`.
    """
    everything, limit = slice(None), LVIS_LIMITS[0]
    groups = {f: [i for i, x in enumerate(frequencies) if x == f] for f in FREQUENCIES}
    metrics = {
        f'{metric}_AP{item}': curves.average_precision(everything, *query)
        for item, query in _AP_ITEMS.items()
    }
    for f, labels in groups.items():
        metrics[f'{metric}_AP{f}'] = curves.average_precision(labels, None, 'all', 0)
    metrics[f'{metric}_AR@{limit}'] = curves.average_recall(everything, None, 'all', 0)
    for item, area in _AR_AREAS.items():
        metrics[f'{metric}_AR{item}@{limit}'] = curves.average_recall(everything, None, area, 0)
    for f, labels in groups.items():
        metrics[f'{metric}_AR{f}@{limit}'] = curves.average_recall(labels, None, 'all', 0)
    return metrics


def full_name(name: str | None, metrics: Sequence[str], categories: Categories | None) -> str:
    """Return the full name of a box metric.

    Args:
        name: one of ``metrics``, or a short name; see :meth:`GroundTruth.metric`.
        metrics: the full names of all metrics.
        categories: the category set, for metrics of COCO; None for those of LVIS.

    Raises:
        ValueError: unknown metric.
    """
    if categories is None:
        default, short = 'APr', {m.removeprefix('bbox_'): m for m in metrics}
    else:
        prefixes = metric_prefixes(categories)
        default = 'novel_AP50'
        short = {f'{word}_AP50': f'{prefix}bbox_mAP_50' for word, prefix in prefixes.items()}
    name = name or default
    if name not in metrics and name not in short:
        raise ValueError(f'unknown metric {name!r}; choose from {[*short, *metrics]}')
    return short.get(name, name)


def labels_of_metrics(
    names: Collection[str],
    metric: str,
    categories: Categories,
    frequencies: Sequence[str | None] | None,
) -> list[int]:
    """Return the labels of the categories that metrics depend on, in ascending order.

    Args:
        names: the names of metrics of :func:`coco_metrics` or :func:`lvis_metrics`.
        metric: ``bbox`` or ``segm``.
        categories: the C categories.
        frequencies: (C,) frequencies of LVIS; None for COCO.
    """
    labels: set[int] = set()
    for name in names:
        first, last = 0, categories.num_all
        if frequencies is not None:
            group = name.removeprefix(f'{metric}_')[2:3]
            labels |= {
                i for i, f in enumerate(frequencies) if f == group or group not in FREQUENCIES
            }
            continue
        prefixes = metric_prefixes(categories)
        if not name.startswith(prefixes['all']):
            is_base = name.startswith(prefixes['base'])
            first, last = (0, categories.num_bases) if is_base else (categories.num_bases, last)
        labels |= set(range(first, last))
    return sorted(labels)


def copypaste(metrics: Mapping[str, float], metric: str = 'bbox') -> dict[str, str]:
    """Return the average precisions of each group as one line of text, in the format of mmdet.

    Args:
        metrics: the values of :func:`coco_metrics` or :func:`lvis_metrics`.
        metric: ``bbox`` or ``segm``.
    """
    lvis = {
        k.removeprefix(f'{metric}_'): v for k, v in metrics.items() if k.startswith(f'{metric}_AP')
    }
    if lvis:
        return {f'{metric}_mAP_copypaste': ' '.join(f'{k}:{v:.4f}' for k, v in lvis.items())}
    lines: dict[str, list[str]] = {}
    for name, value in metrics.items():
        prefix, _, item = name.rpartition('_')
        if item in _AP_ITEMS and prefix.endswith(f'{metric}_mAP'):
            lines.setdefault(f'{prefix}_copypaste', []).append(f'{value:.4f}')
    return {name: ' '.join(values) for name, values in lines.items()}
