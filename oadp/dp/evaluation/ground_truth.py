"""The one evaluator: of tests, evaluation during training and the search over the score fusion.

The ground truth is read and indexed once, for any number of evaluations. Matching is done by
hotcoco, a port of pycocotools and lvis-api in Rust that gives their figures to floating point.
Images, categories and annotations are numbered anew before it sees them: pycocotools, lvis-api and
hotcoco read an annotation id of 0 as "not matched", and duplicate ids as one object.
"""

__all__ = ['GroundTruth']

import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import hotcoco
import numpy as np

from oadp.categories import Categories, config_categories
from oadp.data.annotations.checks import read_annotations
from oadp.dp.evaluation.annotations import read_objects, select_images
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.federated import counted_by_lvis, judgement
from oadp.dp.evaluation.metrics import (
    COCO_LIMITS,
    LVIS_LIMITS,
    Curves,
    coco_metrics,
    full_name,
    labels_of_metrics,
    lvis_metrics,
)
from oadp.utils.config import section

Metric = Literal['bbox', 'segm']


class GroundTruth:
    """The objects that detections are judged by.

    Args:
        source: a COCO or LVIS JSON whose categories include the names of ``categories``; or its
            decoded content, which is not changed.
        categories: what labels mean.
        federated: follow LVIS's rules: at most 300 detections an image count, and a category is
            judged only in the images whose present or absent categories include it.
        image_ids: judge these images alone; None means all.
        masks: keep the objects' masks, for the metric ``segm``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: categories or images that the file does not have.
    """

    def __init__(
        self,
        source: str | pathlib.Path | Mapping[str, Any],
        categories: Categories,
        federated: bool = False,
        image_ids: Collection[int] | None = None,
        masks: bool = False,
    ) -> None:
        name, data = 'the annotations', source
        if isinstance(source, (str, pathlib.Path)):
            needs = {'annotations', 'box'} | ({'lvis'} if federated else set())
            name = str(source)
            data, _ = read_annotations(source, needs, categories)
        self.categories = categories
        self.federated = federated
        images = {image['id']: image for image in data['images']}
        if image_ids is not None:
            images = select_images(images, image_ids, name)
        self.images_in_file_order = list(images)
        self._image_ids = np.sort(np.array(self.images_in_file_order, np.int64))
        self._infos = [images[i] for i in self._image_ids.tolist()]
        by_name = {c['name']: c for c in data['categories']}
        missing = [n for n in categories.all_ if n not in by_name]
        if missing:
            raise ValueError(
                f'{name}: lacks {len(missing)} of {categories.num_all} categories, such as '
                f'{missing[:3]}; make it with python -m oadp.build_annotations'
            )
        infos = [by_name[n] for n in categories.all_]
        self.category_ids: list[int] = [c['id'] for c in infos]
        self._label_of = {category_id: label for label, category_id in enumerate(self.category_ids)}
        self.frequencies: list[str | None] = [c.get('frequency') for c in infos]
        self.objects = read_objects(
            data['annotations'], self.image_ids, self.category_ids, federated, masks
        )
        self._indexed: dict[str, hotcoco.COCO] = {}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], image_ids: Collection[int] | None = None
    ) -> 'GroundTruth':
        """Open the validation annotations of a whole config, without masks.

        Args:
            config: of it, ``categories`` and ``validator.dataloader.dataset`` are read.
            image_ids: judge these images alone; None means all.
        """
        dataset = section(config, '.validator.dataloader.dataset')
        if missing := [k for k in ('ann_file', 'type') if k not in dataset]:
            raise ValueError(f'.validator.dataloader.dataset of the config has no {missing}')
        categories = config_categories(config)
        return cls(dataset['ann_file'], categories, dataset['type'] == 'OV_LVIS', image_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_indexed': {}}  # hotcoco's index is not for another process

    @property
    def image_ids(self) -> list[int]:
        """Ids of the images, ascending."""
        return self._image_ids.tolist()

    def sizes_wh(self) -> dict[int, tuple[int, int] | None]:
        """Return width and height in pixels by image id; None where the file does not say."""
        return {
            image_id: (info['width'], info['height'])
            if {'width', 'height'} <= info.keys()
            else None
            for image_id, info in zip(self.image_ids, self._infos, strict=True)
        }

    @property
    def limits(self) -> tuple[int, ...]:
        """Numbers of detections considered, by the protocol."""
        return LVIS_LIMITS if self.federated else COCO_LIMITS

    def metric(self, name: str | None = None) -> str:
        """Return the full name of a metric.

        Args:
            name: one of :attr:`metrics`; or ``novel_AP50``, ``base_AP50``, ``all_AP50`` (COCO), or
                ``APr`` and the like (LVIS). None is what the paper reports: novel AP50, or APr.

        Raises:
            ValueError: there is no such metric; the message lists those that there are.
        """
        categories = None if self.federated else self.categories
        return full_name(name, self.metrics, categories)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what :meth:`evaluate` returns for boxes, in its order."""
        return self._names('bbox')

    def _names(self, metric: Metric) -> tuple[str, ...]:
        empty = Curves.empty(self.categories.num_all, len(self.limits))
        return tuple(self.summarize(empty, metric))

    def summarize(self, curves: Curves, metric: Metric = 'bbox') -> dict[str, float]:
        """Return COCO's or LVIS's figures of curves."""
        if self.federated:
            return lvis_metrics(curves, self.frequencies, metric)
        return coco_metrics(curves, self.categories, metric)

    def evaluate(
        self,
        detections: Detections,
        metrics: Collection[str] | None = None,
        image_ids: Collection[int] | None = None,
        metric: Metric = 'bbox',
    ) -> dict[str, float]:
        """Judge detections.

        Args:
            detections: of the images of the ground truth; those of others are left out.
            metrics: names; None means all. Only the categories that they need are matched.
            image_ids: judge these of its images alone; None means all.
            metric: judge boxes, ``bbox``, or masks, ``segm``.

        Returns:
            Name to a value in [0, 1], or −1 where there is nothing to judge.

        Raises:
            ValueError: an unknown metric, or masks that are asked for and missing.
        """
        known = self._names(metric)
        wanted = list(known if metrics is None else metrics)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ValueError(f'unknown metrics {unknown}; choose from {[*known]}')
        labels = None
        if metrics is not None:
            frequencies = self.frequencies if self.federated else None
            labels = labels_of_metrics(wanted, metric, self.categories, frequencies)
        summary = self.summarize(self.curves(detections, metric, image_ids, labels), metric)
        return {name: summary[name] for name in wanted}

    def curves(
        self,
        detections: Detections,
        metric: Metric = 'bbox',
        image_ids: Collection[int] | None = None,
        labels: Sequence[int] | None = None,
        limits: Sequence[int] | None = None,
    ) -> Curves:
        """Return precision and recall of each category.

        Args:
            detections, metric, image_ids: see :meth:`evaluate`.
            labels: match these categories only; None means all. The others have −1.
            limits: numbers of detections considered, ascending; None means the protocol's.

        Raises:
            ValueError: masks that are asked for and missing, or scores that are NaN.
        """
        if metric not in ('bbox', 'segm'):
            raise ValueError(f'unknown metric {metric!r}; choose from bbox, segm')
        truth = self._index(metric)
        found = self._load(truth, detections, metric)
        evaluator = hotcoco.COCOeval(truth, found, metric, lvis_style=self.federated)
        evaluator.params.max_dets = list(limits or self.limits)
        if image_ids is not None:
            chosen = np.isin(self._image_ids, np.fromiter(image_ids, np.int64))
            evaluator.params.img_ids = (np.flatnonzero(chosen) + 1).tolist()
        if labels is not None:
            evaluator.params.cat_ids = [label + 1 for label in labels]
        evaluator.evaluate()
        evaluator.accumulate()
        result = evaluator.eval
        curves = Curves(result['precision'], result['recall'])
        return curves if labels is None else self._spread(curves, labels)

    def _spread(self, curves: Curves, labels: Sequence[int]) -> Curves:
        """Put the columns of some categories where their labels are."""
        empty = Curves.empty(self.categories.num_all, curves.recall.shape[-1])
        precision, recall = (array.copy() for array in empty)
        precision[:, :, labels], recall[:, labels] = curves
        return Curves(precision, recall)

    def _index(self, metric: str) -> hotcoco.COCO:
        objects = self.objects
        if metric not in self._indexed:
            if metric == 'segm' and objects.segmentations is None and len(objects.labels):
                raise ValueError('metric segm needs masks, and the annotations have none')
            self._indexed[metric] = hotcoco.COCO.from_arrays(
                [self._image(i, info) for i, info in enumerate(self._infos)],
                self._categories(),
                objects.images + 1,
                objects.labels + 1,
                objects.boxes,
                area=objects.areas,
                iscrowd=objects.crowd,
                segmentation=(objects.segmentations or []) if metric == 'segm' else None,
            )
        return self._indexed[metric]

    def _image(self, index: int, info: Mapping[str, Any]) -> dict[str, Any]:
        image = dict(id=index + 1, width=info.get('width', 0), height=info.get('height', 0))
        if self.federated:
            labels = self._label_of
            for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
                image[key] = [labels[i] + 1 for i in info[key] if i in labels]
        return image

    def _categories(self) -> list[dict[str, Any]]:
        infos = zip(self.categories.all_, self.frequencies, strict=True)
        return [
            dict(id=i, name=name, **({'frequency': frequency} if frequency else {}))
            for i, (name, frequency) in enumerate(infos, start=1)
        ]

    def _load(self, truth: hotcoco.COCO, detections: Detections, metric: str) -> hotcoco.COCO:
        if metric == 'segm' and detections.masks is None and len(detections.labels):
            raise ValueError('metric segm needs masks, and this detector gives none')
        detections = self.counted(detections)
        rows = np.empty((len(detections.labels), 7))
        rows[:, 0] = np.searchsorted(self._image_ids, detections.image_ids) + 1
        rows[:, 1:5] = detections.boxes
        rows[:, 3:5] -= rows[:, 1:3]
        rows[:, 5] = detections.scores
        rows[:, 6] = detections.labels + 1
        masks = list(detections.masks) if metric == 'segm' and len(rows) else None
        found = truth.load_res(rows, segmentation=masks)
        if masks is not None and not self.federated:
            # lvis-api, as mmdet calls it, divides detections by the area of their boxes; mmdet's
            # COCO by that of their masks.
            areas = np.asarray(hotcoco.mask.area(masks), np.float64)
            found.update_anns(ids=np.arange(1, len(masks) + 1), area=areas)
        return found

    def counted(self, detections: Detections) -> Detections:
        """Return the detections that count, ordered by image and label as mmdet's results.

        Those of other images do not; on LVIS, nor do those that lvis-api leaves out.
        """
        known = np.isin(detections.image_ids, self._image_ids)
        if not known.all():
            detections = detections.select(known)
        detections = detections.select(np.lexsort((detections.labels, detections.image_ids)))
        return detections.select(counted_by_lvis(detections)) if self.federated else detections

    @functools.cached_property
    def _judgement(self) -> tuple[np.ndarray, np.ndarray]:
        """(images, C) bool: where a class is judged, and where it is annotated only in part."""
        images = [self._image(i, info) for i, info in enumerate(self._infos)]
        return judgement(images, self.objects, self.categories.num_all)

    def unjudged(self, detections: Detections, is_false: np.ndarray) -> np.ndarray:
        """Return which detections are of classes that are not judged in their images (LVIS).

        Args:
            detections: (M) of these images.
            is_false: (M,) bool, which found no object: where a class is not annotated exhaustively,
                these are not judged.
        """
        result = np.zeros(len(detections.labels), bool)
        if not self.federated or not len(result):
            return result
        judged, partial = self._judgement
        index = np.searchsorted(self._image_ids, detections.image_ids), detections.labels
        return ~judged[index] | (partial[index] & is_false)
