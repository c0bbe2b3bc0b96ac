"""Open-vocabulary COCO and LVIS: mmdet's datasets with base and novel categories.

A label is a category's position in the category set, whatever the order and the ids in the
annotation file. In training, only base categories have labels: a novel one's column is −∞ there, and
an annotation that reaches it (validation files have them) would make the loss infinite.
"""

__all__ = ['OV_COCO', 'OV_LVIS', 'build_dataset']

import contextlib
import functools
import io
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from mmdet.datasets import DATASETS, CocoDataset, LVISV1Dataset
from mmdet.datasets import build_dataset as build_mmdet_dataset

from .. import runtime
from ..categories import Categories, get_categories
from ..config import to_plain
from .evaluation import Detections, GroundTruth, class_figures, copypaste
from .pipelines import naming_image

_DRY_RUN_IMAGES = 4
"""Images of a dataset in ``DRY_RUN``: two steps of two."""


class _OpenVocabularyDataset:
    """What the two datasets share; stands before mmdet's class.

    Args:
        ann_file: annotations in COCO's (LVIS's) format.
        args, kwargs: mmdet's ``CocoDataset``, but for ``classes``.
        categories: a category set, its name, or the path of its JSON file.
        max_images: keep the first ones only; None for all.

    Raises:
        FileNotFoundError: no such annotation file.
        ValueError: the file lacks categories of the set, or no image is left to train on.
    """

    _federated = False

    def __init__(
        self,
        ann_file: str,
        *args,
        categories: Categories | str,
        max_images: int | None = None,
        **kwargs,
    ) -> None:
        if isinstance(categories, str):
            categories = get_categories(categories)
        self.categories = categories
        self._max_images = max_images
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools announces its steps
            super().__init__(ann_file, *args, classes=categories.all_, **kwargs)
        if not len(self):
            raise ValueError(
                f'{self.ann_file}: no image of at least 32 pixels with an annotation of a base category'
            )

    def load_annotations(self, ann_file: str) -> list[dict[str, Any]]:
        if not pathlib.Path(ann_file).is_file():
            raise FileNotFoundError(
                f'{ann_file}: no such annotation file; `python -m oadp.build_annotations` makes '
                'those of COCO and LVIS (README, "Annotations")'
            )
        images = super().load_annotations(ann_file)
        ids = {c['name']: c['id'] for c in self.coco.dataset['categories']}
        missing = [name for name in self.categories.all_ if name not in ids]
        if missing:
            raise ValueError(
                f'{ann_file}: lacks {len(missing)} of the {self.categories.num_all} categories, '
                f'such as {missing[:5]}; it has {sorted(ids)[:5]}, …'
            )
        names = self.categories.all_ if self.test_mode else self.categories.bases
        self.cat_ids = [ids[name] for name in names]
        self.cat2label = {category_id: label for label, category_id in enumerate(self.cat_ids)}
        if self.test_mode:
            images = images[: self._max_images]
            self.img_ids = self.img_ids[: self._max_images]
        else:
            self._report_left_out()
        return images

    def _report_left_out(self) -> None:
        known = self.cat2label
        left_out = sum(a['category_id'] not in known for a in self.coco.anns.values())
        if left_out:
            runtime.get_logger().info(
                '%s: %d of %d annotations are not of base categories, and left out in training',
                self.ann_file,
                left_out,
                len(self.coco.anns),
            )

    def _filter_imgs(self, min_size: int = 32) -> list[int]:
        indices = super()._filter_imgs(min_size)[: self._max_images]
        self.img_ids = self.img_ids[: self._max_images]
        return indices

    def get_cat_ids(self, idx: int) -> list[int]:
        """Ids of the labelled categories in an image; class-balanced sampling counts them."""
        return [i for i in super().get_cat_ids(idx) if i in self.cat2label]

    def pre_pipeline(self, results: dict[str, Any]) -> None:
        super().pre_pipeline(results)
        results['num_classes'] = self.categories.num_all

    def __getitem__(self, idx: int) -> dict[str, Any]:
        with naming_image(os.path.join(self.img_prefix or '', self.data_infos[idx]['filename'])):
            return super().__getitem__(idx)

    @functools.cached_property
    def ground_truth(self) -> GroundTruth:
        """What detections are judged by, indexed once for any number of evaluations."""
        return GroundTruth(
            self.coco.dataset, self.categories, self._federated, self.img_ids, masks=True
        )

    def evaluate(
        self,
        results: list,
        metric: str | Sequence[str] = 'bbox',
        logger: logging.Logger | str | None = None,
        classwise: bool = False,
    ) -> dict[str, Any]:
        """Compute average precision and recall over all, base and novel categories.

        Args:
            results: mmdet's results, one an image.
            metric: ``bbox``, ``segm`` or both.
            logger: mmdet's argument; nothing is logged here.
            classwise: add ``bbox_classwise`` (and ``segm_classwise``), see
                :func:`oadp.dp.evaluation.class_figures`.

        Returns:
            See ``coco_metrics`` and ``lvis_metrics``: fractions in [0, 1]. The headline is
            ``COCO_17_bbox_mAP_50``, or ``bbox_APr``. ``…_copypaste`` is the average precisions as
            text.

        Raises:
            ValueError: unknown metric, another number of results than of images, or no masks for
                ``segm``.
        """
        names = [metric] if isinstance(metric, str) else list(metric)
        detections = Detections.from_results(self.img_ids, results, masks='segm' in names)
        metrics: dict[str, Any] = {}
        for name in names:
            curves = self.ground_truth.curves(detections, name)
            figures = self.ground_truth.summarize(curves, name)
            metrics |= figures | copypaste(figures, name)
            if classwise:
                metrics[f'{name}_classwise'] = class_figures(self.ground_truth, curves)
        return metrics


@DATASETS.register_module()
class OV_COCO(_OpenVocabularyDataset, CocoDataset):
    """COCO, or a dataset in its format, with base and novel categories; evaluated as COCO is."""


@DATASETS.register_module()
class OV_LVIS(_OpenVocabularyDataset, LVISV1Dataset):
    """LVIS v1, whose rare categories are the novel ones; evaluated as LVIS is."""

    _federated = True


_OPEN_VOCABULARY = {cls.__name__ for cls in (OV_COCO, OV_LVIS)}
_LOCATIONS = ('data_root', 'ann_file', 'img_prefix', 'seg_prefix', 'proposal_file')


def build_dataset(config: Mapping[str, Any], split: Literal['train', 'val'] = 'train') -> Any:
    """Build a dataset of a config.

    ``TRAIN_WITH_VAL_DATASET`` gives the training dataset the validation files, and ``DRY_RUN`` a
    handful of images, through any wrapper of mmdet.

    Args:
        config: a whole loaded config; of it, ``trainer.dataloader.dataset`` or
            ``validator.dataloader.dataset`` and ``categories`` are read. Not changed.
        split: ``train`` or ``val``.

    Raises:
        ValueError: unknown split, or as the datasets.
        FileNotFoundError: see the datasets.
    """
    if split not in ('train', 'val'):
        raise ValueError(f'unknown split {split!r}; choose from train, val')
    dataset = _dataset_config(config, split)
    for inner in _inner_datasets(dataset):
        inner.setdefault('test_mode', split == 'val')
        if inner['type'] in _OPEN_VOCABULARY:
            inner.setdefault('categories', config.get('categories'))
            if runtime.dry_run():
                inner['max_images'] = _DRY_RUN_IMAGES
        if split == 'train' and runtime.train_with_val_dataset():
            _use_validation_files(inner, next(_inner_datasets(_dataset_config(config, 'val'))))
    return build_mmdet_dataset(dataset)


def _dataset_config(config: Mapping[str, Any], split: str) -> dict[str, Any]:
    return to_plain(config[dict(train='trainer', val='validator')[split]]['dataloader']['dataset'])


def _inner_datasets(config: Any) -> Iterator[dict[str, Any]]:
    """The configs of the datasets that read files, within wrappers and lists."""
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from _inner_datasets(item)
    elif 'dataset' in config or 'datasets' in config:
        yield from _inner_datasets(config.get('dataset', config.get('datasets')))
    else:
        yield config


def _use_validation_files(inner: dict[str, Any], validation: Mapping[str, Any]) -> None:
    for key in _LOCATIONS:
        inner.pop(key, None)
        if key in validation:
            inner[key] = validation[key]
    for step in inner['pipeline']:
        if step['type'] == 'LoadCLIPFeatures':
            step['split'] = 'val'
