"""Box metrics fast enough to be the inner loop of a search.

pycocotools and lvis spend their time in Python, on every pair of an image and a category. Here
faster-coco-eval does the matching in C++, one category at a time, which keeps the memory small; for
LVIS only the images in which a category is judged are looked at. The ground truth is prepared once
for any number of evaluations. The figures are pycocotools' and lvis's to floating point.
"""

__all__ = ['Detections', 'GroundTruth']

import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from ..categories import Categories
from ..data.annotation_checks import read_annotations
from .evaluation import MAX_DETECTIONS, coco_metrics, metric_prefixes

_LVIS_MAX_DETECTIONS = (300,)
"""The limit of detections an image (lvis)."""

_LVIS_FIGURES: dict[str, tuple[float | None, int]] = {
    '': (None, 0),
    '50': (0.5, 0),
    '75': (0.75, 0),
    's': (None, 1),
    'm': (None, 2),
    'l': (None, 3),
}
"""Name of a figure: IoU threshold (None: 0.5 to 0.95), position on the axis of areas."""

_FREQUENCIES = ('r', 'c', 'f')

_PRECISION_SHAPE = (10, 101, 4)
"""IoU thresholds, recalls and areas of a precision array (COCO, LVIS)."""


class Detections(NamedTuple):
    """Detections of any number of images, one a row.

    Attributes:
        image_ids: (N,) int64.
        labels: (N,) int64, positions in the category set.
        boxes: (N, 4) float32 xyxy in pixels of the original image.
        scores: (N,) float32; within an image in descending order.
    """

    image_ids: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence['Detections']) -> 'Detections':
        """All rows of all parts."""
        empty = (np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4), 'f4'), np.zeros(0, 'f4'))
        return cls(*map(np.concatenate, zip(empty, *parts, strict=True)))

    def select(self, rows) -> 'Detections':
        """Some of the rows: a mask, positions or a slice."""
        return Detections._make(array[rows] for array in self)


class GroundTruth:
    """The boxes that detections are judged by.

    Args:
        ann_file: COCO or LVIS JSON whose categories bear the names of ``categories``.
        categories: what labels mean.
        federated: LVIS's rules: a category is judged in the images whose list of present or absent
            categories has it, and by its frequency.
        image_ids: judge these images alone; None means all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: categories or images that the file does not have.
    """

    def __init__(
        self,
        ann_file: str | pathlib.Path,
        categories: Categories,
        federated: bool = False,
        image_ids: Collection[int] | None = None,
    ) -> None:
        self._categories = categories
        self._federated = federated
        data = _read(ann_file, categories, federated)
        if image_ids is not None:
            _keep_images(data, set(image_ids), ann_file)
        by_name = {c['name']: c for c in data['categories']}
        infos = [by_name[name] for name in categories.all_]
        self._category_ids = [c['id'] for c in infos]
        self._frequencies = [c.get('frequency') for c in infos]
        self._coco = COCO(data)
        self._image_ids = sorted(self._coco.imgs)
        self._judged = self._judged_images() if federated else None

    @property
    def image_ids(self) -> list[int]:
        """Ascending."""
        return self._image_ids

    def _judged_images(self) -> list[list[int]]:
        """For each label, the images whose detections of it count (LVIS)."""
        judged: dict[int, set[int]] = {c: set() for c in self._category_ids}
        for image in self._coco.imgs.values():
            for category_id in image['neg_category_ids']:
                if category_id in judged:
                    judged[category_id].add(image['id'])
        for ann in self._coco.anns.values():
            if ann['category_id'] in judged:
                judged[ann['category_id']].add(ann['image_id'])
        return [sorted(judged[c]) for c in self._category_ids]

    def metric(self, name: str | None = None) -> str:
        """A metric by its name or a shorter one.

        Args:
            name: one of :attr:`metrics`; or ``novel_AP50``, ``base_AP50``, ``all_AP50`` (COCO), or
                ``APr`` and the like (LVIS). None is what the paper reports: novel AP50, or APr.

        Raises:
            ValueError: there is no such metric; the message lists those that there are.
        """
        if self._federated:
            short = {m.removeprefix('bbox_'): m for m in self.metrics}
        else:
            prefixes = metric_prefixes(self._categories)
            short = {f'{word}_AP50': f'{prefix}bbox_mAP_50' for word, prefix in prefixes.items()}
        name = name or ('APr' if self._federated else 'novel_AP50')
        if name not in self.metrics and name not in short:
            raise ValueError(f'unknown metric {name!r}; choose from {[*short, *self.metrics]}')
        return short.get(name, name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what :meth:`evaluate` gives, in its order."""
        return tuple(self._summarise(self._no_precision()))

    @property
    def _max_detections(self) -> tuple[int, ...]:
        return _LVIS_MAX_DETECTIONS if self._federated else MAX_DETECTIONS

    def _no_precision(self) -> np.ndarray:
        """(10, 101, C, 4, limits of detections), −1: nothing judged."""
        thresholds, recalls, areas = _PRECISION_SHAPE
        shape = (thresholds, recalls, self._categories.num_all, areas, len(self._max_detections))
        return np.full(shape, -1.0)

    def _summarise(self, precision: np.ndarray) -> dict[str, float]:
        if not self._federated:
            metrics = coco_metrics(precision, self._categories)
            return {k: v for k, v in metrics.items() if isinstance(v, float)}
        summary = {
            f'bbox_AP{name}': _mean(precision[:, :, :, area, 0], iou)
            for name, (iou, area) in _LVIS_FIGURES.items()
        }
        for frequency in _FREQUENCIES:
            summary[f'bbox_AP{frequency}'] = _mean(
                precision[:, :, self._labels_of(frequency), 0, 0], None
            )
        return summary

    def _labels_of(self, frequency: str) -> list[int]:
        return [i for i, f in enumerate(self._frequencies) if f == frequency]

    def _labels_for(self, metric: str) -> Sequence[int]:
        """Of the categories that a metric averages over."""
        labels = range(self._categories.num_all)
        if self._federated:
            frequency = metric.removeprefix('bbox_AP')
            return self._labels_of(frequency) if frequency in _FREQUENCIES else labels
        prefixes = metric_prefixes(self._categories)
        if metric.startswith(prefixes['all']):
            return labels
        num_bases = self._categories.num_bases
        return labels[:num_bases] if metric.startswith(prefixes['base']) else labels[num_bases:]

    def evaluate(
        self,
        detections: Detections,
        metrics: Collection[str] | None = None,
        image_ids: Collection[int] | None = None,
    ) -> dict[str, float]:
        """Judge detections.

        Args:
            detections: of the images of the ground truth; those of others are left out.
            metrics: names; None means all. Only the categories that they need are matched.
            image_ids: judge these of its images alone; None means all.

        Returns:
            Name to a value in [0, 1], or −1 where there is nothing to judge.

        Raises:
            ValueError: a metric that there is not.
        """
        known = self.metrics
        wanted = list(known) if metrics is None else list(metrics)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ValueError(f'unknown metrics {unknown}; choose from {[*known]}')
        order = np.argsort(detections.labels, kind='stable')
        bounds = np.searchsorted(detections.labels[order], np.arange(self._categories.num_all + 1))
        only = None if image_ids is None else set(image_ids)
        precision = self._no_precision()
        for label in sorted({label for name in wanted for label in self._labels_for(name)}):
            rows = order[bounds[label] : bounds[label + 1]]
            precision[:, :, label] = self._precision(label, detections.select(rows), only)
        summary = self._summarise(precision)
        return {name: summary[name] for name in wanted}

    def _precision(
        self, label: int, detections: Detections, only: set[int] | None
    ) -> np.ndarray | float:
        """(10, 101, 4, limits) of one category, or −1 where it is judged in no image."""
        category_id = self._category_ids[label]
        image_ids = self._image_ids if self._judged is None else self._judged[label]
        if only is not None:
            image_ids = [i for i in image_ids if i in only]
        if not image_ids:
            return -1.0
        found = _Found(detections.select(np.isin(detections.image_ids, image_ids)), category_id)
        evaluator = COCOeval_faster(self._coco, found, 'bbox', lvis_style=self._federated)
        evaluator.params.imgIds = image_ids
        evaluator.params.catIds = [category_id]
        evaluator.params.maxDets = list(self._max_detections)
        evaluator.evaluate()
        evaluator.accumulate()
        return evaluator.eval['precision'][:, :, 0]


class _Found:
    """One category's detections, as much of pycocotools' ``COCO`` as the matching asks for."""

    def __init__(self, detections: Detections, category_id: int) -> None:
        xyxy = detections.boxes.astype(np.float64)
        sides = xyxy[:, 2:] - xyxy[:, :2]
        columns = (
            detections.image_ids,
            np.concatenate([xyxy[:, :2], sides], 1),
            detections.scores.astype(np.float64),
            sides.prod(1),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._anns = [
            dict(id=i, image_id=image, category_id=category_id, bbox=box, score=score, area=area)
            for i, (image, box, score, area) in enumerate(rows, start=1)
        ]

    def getAnnIds(self, imgIds=(), catIds=()) -> range:  # noqa: N802, N803  (pycocotools' names)
        return range(len(self._anns))

    def loadAnns(self, ids: range) -> list[dict]:  # noqa: N802
        return self._anns


def _mean(values: np.ndarray, iou: float | None) -> float:
    """Over the entries that were judged; IoU thresholds are the first axis."""
    if iou is not None:
        values = values[round((iou - 0.5) / 0.05)]
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _read(ann_file: str | pathlib.Path, categories: Categories, federated: bool) -> dict[str, Any]:
    path = pathlib.Path(ann_file)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such annotation file; make it with python -m oadp.build_annotations '
            '(README, section "Annotations")'
        )
    needs = {'annotations', 'box'} | ({'lvis'} if federated else set())
    data, _ = read_annotations(path, needs, categories)
    for ann in data['annotations']:
        ann.pop('segmentation', None)  # most of the memory, and no use for boxes
    return data


def _keep_images(data: dict[str, Any], image_ids: set[int], ann_file: str | pathlib.Path) -> None:
    missing = image_ids - {image['id'] for image in data['images']}
    if missing:
        raise ValueError(
            f'{ann_file}: lacks {len(missing)} of {len(image_ids)} images, such as '
            f'{sorted(missing)[:3]}'
        )
    data['images'] = [image for image in data['images'] if image['id'] in image_ids]
    data['annotations'] = [a for a in data['annotations'] if a['image_id'] in image_ids]
