"""Evaluate detections in tests, during training and in the score fusion search.

The ground truth is read and indexed once, for any number of evaluations. Detections are matched by
hotcoco, a Rust port of pycocotools and lvis-api whose metrics agree with theirs to floating-point
precision. Images, categories and annotations get new ids first: pycocotools, lvis-api and hotcoco
treat an annotation id of 0 as "not matched", and duplicate ids as one object.
"""

__all__ = ['GroundTruth']

import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import hotcoco
import numpy as np

from oadp.categories import Categories, config_categories
from oadp.data.annotations.lists import Need
from oadp.data.annotations.table import AnnotationTable, DecodedRecords, open_annotations
from oadp.dp.evaluation.annotations import read_objects, select_images
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.federated import counted_by_lvis, judgement
from oadp.dp.evaluation.hotcoco_index import index_objects, load_detections
from oadp.dp.evaluation.metrics import (
    COCO_LIMITS,
    LVIS_LIMITS,
    Curves,
    Metric,
    coco_metrics,
    full_name,
    labels_of_metrics,
    lvis_metrics,
    spread,
)
from oadp.utils.config import section


class GroundTruth:
    """The annotated objects that detections are evaluated against.

    Args:
        source: a COCO or LVIS JSON file whose categories include the names of ``categories``; or
            its table, whose annotations have boxes; or its decoded content, which is not modified.
        categories: the category set, whose order defines the labels.
        federated: follow the rules of LVIS: at most 300 detections per image count, and a category
            is evaluated only in the images that list it as present or absent.
        image_ids: evaluate on these images only; None means all.
        masks: keep the masks of the objects, for the metric ``segm``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file lacks some of the categories or images.
    """

    def __init__(
        self,
        source: str | pathlib.Path | AnnotationTable | Mapping[str, Any],
        categories: Categories,
        federated: bool = False,
        image_ids: Collection[int] | None = None,
        masks: bool = False,
    ) -> None:
        name = 'the annotations'
        if isinstance(source, (str, pathlib.Path)):
            needs: list[Need] = ['annotations', 'box', 'lvis']
            name = str(source)
            source = open_annotations(source, needs if federated else needs[:-1], categories)
        if isinstance(source, AnnotationTable):
            data: Mapping[str, Any] = source.content()
            known = source.image_ids.tolist()
        else:
            data, known = source, [image['id'] for image in source['images']]
        self.categories = categories
        self.federated = federated
        images = data['images']
        kept = select_images(known, known if image_ids is None else image_ids, name)
        self.images_in_file_order = [known[i] for i in kept]
        kept.sort(key=known.__getitem__)
        self._image_ids = np.array([known[i] for i in kept], np.int64)
        self._infos: Sequence[Mapping[str, Any]] = (
            images.select(kept) if isinstance(images, DecodedRecords) else [images[i] for i in kept]
        )
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
        self.objects = read_objects(source, self._image_ids, self.category_ids, federated, masks)
        self._indexed: dict[str, hotcoco.COCO] = {}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], image_ids: Collection[int] | None = None
    ) -> 'GroundTruth':
        """Read the validation annotations of a config, without masks.

        Args:
            config: a whole config; ``categories`` and ``validator.dataloader.dataset`` are read.
            image_ids: evaluate on these images only; None means all.
        """
        dataset = section(config, '.validator.dataloader.dataset')
        if missing := [k for k in ('ann_file', 'type') if k not in dataset]:
            raise ValueError(f'.validator.dataloader.dataset of the config has no {missing}')
        categories = config_categories(config)
        return cls(dataset['ann_file'], categories, dataset['type'] == 'OV_LVIS', image_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_indexed': {}}  # another process builds its own index

    @property
    def image_ids(self) -> list[int]:
        """The ids of the images, in ascending order."""
        return self._image_ids.tolist()

    def sizes_wh(self) -> dict[int, tuple[int, int] | None]:
        """Return width and height in pixels by image id; None if the file does not have them."""
        return {
            image_id: (info['width'], info['height'])
            if {'width', 'height'} <= info.keys()
            else None
            for image_id, info in zip(self.image_ids, self._infos, strict=True)
        }

    @property
    def limits(self) -> tuple[int, ...]:
        """The maximum numbers of detections, as the protocol defines them."""
        return LVIS_LIMITS if self.federated else COCO_LIMITS

    def metric(self, name: str | None = None) -> str:
        """Return the full name of a metric.

        Args:
            name: one of :attr:`metrics`, or a short name: ``novel_AP50``, ``base_AP50`` or
                ``all_AP50`` (COCO), ``APr``, ``APc`` and so on (LVIS). None means the metric that
                the paper reports: novel AP50, or APr.

        Raises:
            ValueError: unknown metric; the message lists the available ones.
        """
        categories = None if self.federated else self.categories
        return full_name(name, self.metrics, categories)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that :meth:`evaluate` returns for boxes, in the same order."""
        return self._names('bbox')

    def _names(self, metric: Metric) -> tuple[str, ...]:
        empty = Curves.empty(self.categories.num_all, len(self.limits))
        return tuple(self.summarize(empty, metric))

    def summarize(self, curves: Curves, metric: Metric = 'bbox') -> dict[str, float]:
        """Return the metrics of COCO or LVIS from curves."""
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
        """Return the metrics of detections.

        Args:
            detections: on the images of the ground truth; those on other images are ignored.
            metrics: the names of metrics; None means all. Only the categories that they depend on
                are matched.
            image_ids: evaluate on these images only; None means all.
            metric: evaluate boxes, ``bbox``, or masks, ``segm``.

        Returns:
            The value of each metric in [0, 1], or −1 without ground truth.

        Raises:
            ValueError: unknown metric, or missing masks for ``segm``.
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
        """Return the precision and recall of each category.

        Args:
            detections: see :meth:`evaluate`.
            metric: see :meth:`evaluate`.
            image_ids: see :meth:`evaluate`.
            labels: match these categories only; None means all. The values of the others are −1.
            limits: the maximum numbers of detections, ascending; None means those of the protocol.

        Raises:
            ValueError: missing masks for ``segm``, or scores that are NaN.
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
        assert result is not None
        curves = Curves(result['precision'], result['recall'])
        return curves if labels is None else spread(curves, labels, self.categories.num_all)

    def _index(self, metric: Metric) -> hotcoco.COCO:
        if metric not in self._indexed:
            if metric == 'segm' and self.objects.segmentations is None and len(self.objects.labels):
                raise ValueError('metric segm needs masks, and the annotations have none')
            infos = zip(self.categories.all_, self.frequencies, strict=True)
            self._indexed[metric] = index_objects(
                self._images(), list(infos), self.objects, metric == 'segm'
            )
        return self._indexed[metric]

    def _images(self) -> list[dict[str, Any]]:
        """Return the records of the images, with new ids: positions and labels, from 1."""
        return [self._image(i, info) for i, info in enumerate(self._infos, start=1)]

    def _image(self, image_id: int, info: Mapping[str, Any]) -> dict[str, Any]:
        image = dict(id=image_id, width=info.get('width', 0), height=info.get('height', 0))
        if self.federated:
            labels = self._label_of
            for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
                image[key] = [labels[i] + 1 for i in info[key] if i in labels]
        return image

    def _load(self, truth: hotcoco.COCO, detections: Detections, metric: Metric) -> hotcoco.COCO:
        if metric == 'segm' and detections.masks is None and len(detections.labels):
            raise ValueError('metric segm needs masks, and this detector gives none')
        detections = self.counted(detections)
        images = np.searchsorted(self._image_ids, detections.image_ids)
        return load_detections(truth, detections, images, metric == 'segm', self.federated)

    def counted(self, detections: Detections) -> Detections:
        """Return the detections that count, ordered by image and label like mmdet's results.

        Detections on other images do not count. On LVIS, neither do those that lvis-api ignores.
        """
        known = np.isin(detections.image_ids, self._image_ids)
        if not known.all():
            detections = detections.select(known)
        detections = detections.select(np.lexsort((detections.labels, detections.image_ids)))
        return detections.select(counted_by_lvis(detections)) if self.federated else detections

    @functools.cached_property
    def _judgement(self) -> tuple[np.ndarray, np.ndarray]:
        """Two (images, C) bool arrays; see :func:`judgement`."""
        return judgement(self._images(), self.objects, self.categories.num_all)

    def unjudged(self, detections: Detections, is_false: np.ndarray) -> np.ndarray:
        """Return which detections are of classes that are not evaluated in their images (LVIS).

        Args:
            detections: M detections on these images.
            is_false: (M,) bool, the detections that match no object. They are not evaluated in
                images where their class is not annotated exhaustively.

        Returns:
            (M,) bool.
        """
        result = np.zeros(len(detections.labels), bool)
        if not self.federated or not len(result):
            return result
        judged, partial = self._judgement
        index = np.searchsorted(self._image_ids, detections.image_ids), detections.labels
        return ~judged[index] | (partial[index] & is_false)
