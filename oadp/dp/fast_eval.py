"""Box metrics fast enough to be the inner loop of a search.

pycocotools and lvis spend their time in Python, on every pair of an image and a category. Here
faster-coco-eval does the matching in C++, one category at a time, which keeps the memory small; for
LVIS only the images in which a category is judged are looked at. The ground truth is prepared once
for any number of evaluations. The figures are pycocotools' and lvis's to floating point.
"""

__all__ = ['Detections', 'GroundTruth']

import json
import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from ..categories import Categories

_COCO_MAX_DETS = (100, 300, 1000)
"""Detections a category and image: COCO's own 100 for mAP alone, the last for the others (mmdet)."""

_LVIS_MAX_DETS = (300,)

_AREAS = ('all', 's', 'm', 'l')
"""Order of the area axis: any size, under 32², to 96², above (pixels)."""

_FREQUENCIES = ('r', 'c', 'f')


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
        data = _read(ann_file)
        if image_ids is not None:
            _keep_images(data, set(image_ids), ann_file)
        by_name = {c['name']: c for c in data['categories']}
        missing = [name for name in categories.all_ if name not in by_name]
        if missing:
            raise ValueError(
                f'{ann_file}: lacks {len(missing)} of {categories.num_all} categories, such as '
                f'{missing[:3]}; make it with python -m oadp.build_annotations'
            )
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
                judged[category_id].add(image['id'])
        for ann in self._coco.anns.values():
            if ann['category_id'] in judged:
                judged[ann['category_id']].add(ann['image_id'])
        return [sorted(judged[c]) for c in self._category_ids]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what :meth:`evaluate` gives, in its order."""
        return tuple(self._table())

    def _table(self) -> dict[str, tuple[Sequence[int], dict[str, Any]]]:
        """Metric name to the labels that it averages over and the arguments of :func:`_mean`."""
        names = self._categories
        everything = range(names.num_all)
        if self._federated:
            table = {
                f'bbox_AP{suffix}': (everything, kwargs)
                for suffix, kwargs in (
                    ('', {}),
                    ('50', dict(iou=0.5)),
                    ('75', dict(iou=0.75)),
                    *((area, dict(area=area)) for area in _AREAS[1:]),
                )
            }
            for frequency in _FREQUENCIES:
                labels = [i for i, f in enumerate(self._frequencies) if f == frequency]
                table[f'bbox_AP{frequency}'] = (labels, {})
            return table
        bases, novels = names.num_bases, names.num_novels
        return {
            f'COCO_{split}_bbox_mAP_{suffix}': (labels, kwargs)
            for split, labels in (
                (f'{bases}_{novels}', everything),
                (f'{bases}', everything[:bases]),
                (f'{novels}', everything[bases:]),
            )
            for suffix, kwargs in (
                ('', dict(max_dets=0)),
                ('50', dict(iou=0.5)),
                ('75', dict(iou=0.75)),
                *((area, dict(area=area)) for area in _AREAS[1:]),
            )
        }

    def evaluate(
        self, detections: Detections, metrics: Collection[str] | None = None
    ) -> dict[str, float]:
        """Judge detections.

        Args:
            detections: of the images of the ground truth; those of others are left out.
            metrics: names; None means all. Only the categories that they need are matched.

        Returns:
            Name to a value in [0, 1], or −1 where there is nothing to judge.

        Raises:
            ValueError: a metric that there is not.
        """
        table = self._table()
        wanted = list(table) if metrics is None else list(metrics)
        unknown = [name for name in wanted if name not in table]
        if unknown:
            raise ValueError(f'unknown metrics {unknown}; choose from {[*table]}')
        labels = sorted({label for name in wanted for label in table[name][0]})
        order = np.argsort(detections.labels, kind='stable')
        bounds = np.searchsorted(detections.labels[order], np.arange(self._categories.num_all + 1))
        precision = {
            label: self._precision(
                label, detections.select(order[bounds[label] : bounds[label + 1]])
            )
            for label in labels
        }
        return {
            name: _mean([precision[label] for label in table[name][0]], **table[name][1])
            for name in wanted
        }

    def _precision(self, label: int, detections: Detections) -> np.ndarray:
        """(IoU thresholds, recalls, areas, detection limits) of one category; −1 where undefined."""
        category_id = self._category_ids[label]
        image_ids = self._image_ids if self._judged is None else self._judged[label]
        found = _Found(detections.select(np.isin(detections.image_ids, image_ids)), category_id)
        evaluator = COCOeval_faster(self._coco, found, 'bbox', lvis_style=self._federated)
        evaluator.params.imgIds = image_ids
        evaluator.params.catIds = [category_id]
        evaluator.params.maxDets = list(_LVIS_MAX_DETS if self._federated else _COCO_MAX_DETS)
        if not image_ids:
            return np.full((len(evaluator.params.iouThrs), 1, len(_AREAS), 1), -1.0)
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


def _mean(
    precisions: list[np.ndarray], iou: float | None = None, area: str = 'all', max_dets: int = -1
) -> float:
    if not precisions:
        return -1.0
    values = np.concatenate([p[:, :, _AREAS.index(area), max_dets] for p in precisions], axis=1)
    if iou is not None:
        values = values[[round((iou - 0.5) / 0.05)]]
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _read(ann_file: str | pathlib.Path) -> dict[str, Any]:
    path = pathlib.Path(ann_file)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such annotation file; make it with python -m oadp.build_annotations '
            '(README, section "Annotations")'
        )
    data = json.loads(path.read_text(encoding='utf-8'))
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
