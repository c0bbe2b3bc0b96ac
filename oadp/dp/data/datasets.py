"""Open-vocabulary COCO and LVIS: mmdet's datasets with base and novel categories.

The label of a category is its position in the category set, independent of the order and the ids in
the annotation file. In training, only base categories have labels: the logits of novel categories
are −∞, so an annotation of a novel category, as in validation files, would make the loss infinite.
"""

__all__ = ['OV_COCO', 'OV_LVIS', 'build_dataset', 'resolve_dataset']

import contextlib
import functools
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lvis import LVIS
from mmdet.datasets import DATASETS, CocoDataset, LVISV1Dataset
from mmdet.datasets import build_dataset as build_mmdet_dataset
from mmdet.datasets.api_wrappers import COCO

from oadp.categories import Categories, get_categories
from oadp.data.annotations.checks import AnnotationCheck, AnnotationColumns, read_annotations
from oadp.data.annotations.lists import MIN_TRAINING_SIDE, Need, image_name
from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.data.annotations_left_out import log_left_out_annotations
from oadp.dp.data.clip_features import without_unused_features
from oadp.dp.data.image_reading import naming_image, with_own_reader
from oadp.dp.evaluation import Detections, GroundTruth, class_figures, copypaste
from oadp.dp.evaluation.metrics import Metric
from oadp.dp.models.distillation import features_used
from oadp.utils import runtime
from oadp.utils.config import section, to_plain

_DRY_RUN_IMAGES = 4  # images of a dataset in `DRY_RUN`: two steps of two images


if TYPE_CHECKING:
    from mmdet.datasets import CustomDataset as _Host
else:
    _Host = object


class _OpenVocabularyDataset(_Host):
    """The common part of the two datasets, a mixin for mmdet's classes.

    Attributes:
        coco: the annotations, indexed by pycocotools (or lvis-api).

    Args:
        ann_file: annotations in COCO's (LVIS's) format.
        pipeline: a pipeline of mmdet, in which ``ReadImage`` replaces ``LoadImageFromFile``.
        args, kwargs: arguments of mmdet's ``CocoDataset``, except ``classes``.
        categories: a category set, its name, or the path of its JSON file.
        max_images: the number of images to keep, from the first one; None means all.

    Raises:
        FileNotFoundError: no such annotation file.
        ValueError: the file has errors, or lacks categories of the set or masks that the pipeline
            loads; or there is no image to train on.
    """

    _name_key: Need
    _is_federated: bool

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[Mapping[str, Any]],
        *args,
        categories: Categories | str,
        max_images: int | None = None,
        **kwargs,
    ) -> None:
        if isinstance(categories, str):
            categories = get_categories(categories)
        self.categories = categories
        self._max_images = max_images
        self._with_masks = any(
            isinstance(step, Mapping) and step.get('with_mask') for step in pipeline
        )
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            super().__init__(
                ann_file, with_own_reader(pipeline), *args, classes=categories.all_, **kwargs
            )
        if not len(self):
            raise ValueError(
                f'{self.ann_file}: no image of at least 32 pixels with an annotation of a base category'
            )

    def load_annotations(self, ann_file: str) -> list[dict[str, Any]]:
        """Read and index the annotations, and return the records of the images."""
        data, columns = self._read(ann_file)
        self.coco = self._index(data)
        self.img_ids = self.coco.get_img_ids()
        images = self.coco.load_imgs(self.img_ids)
        for image in images:
            image['filename'] = image_name(image, self._name_key)
        ids = {c['name']: c['id'] for c in data['categories']}
        names = self.categories.all_ if self.test_mode else self.categories.bases
        self.cat_ids = [ids[name] for name in names]
        self.cat2label = {category_id: label for label, category_id in enumerate(self.cat_ids)}
        if self.test_mode:
            images = images[: self._max_images]
            self.img_ids = self.img_ids[: self._max_images]
        else:
            log_left_out_annotations(ann_file, columns, data['images'], self.cat_ids)
        return images

    def _read(self, ann_file: str) -> tuple[dict[str, Any], AnnotationColumns]:
        """Read and check the file, as mmdet's classes do not check its content."""
        needs: set[Need] = {'annotations', 'size', 'box', self._name_key}
        if self._with_masks and not self.test_mode:
            needs.add('mask')
        if self.test_mode and self._is_federated:
            needs.add('lvis')
        return read_annotations(ann_file, needs, self.categories)

    def require_masks(self) -> None:
        """Check that each annotation has a mask, which ``segm`` metrics need.

        Raises:
            ValueError: some have no mask; the message lists their ids.
        """
        check = AnnotationCheck({'mask'})
        for name in ('images', 'annotations'):
            check.add_list(name, self.coco.dataset[name])
        check.finish(self.ann_file, {'images': 'list'}).raise_errors()

    def _filter_imgs(self, min_size: int = MIN_TRAINING_SIDE) -> list[int]:
        total = len(self.data_infos)
        small = sum(min(i['width'], i['height']) < min_size for i in self.data_infos)
        indices = super()._filter_imgs(min_size)
        if len(indices) < total:
            runtime.get_logger().info(
                '%s: %d of %d images are excluded from training: %d narrower or lower than %d '
                'pixels, the others without an annotation of a base category',
                self.ann_file, total - len(indices), total, small, min_size,
            )  # fmt: skip
        self.img_ids = self.img_ids[: self._max_images]
        return indices[: self._max_images]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the ids of the labeled categories in an image, for class-balanced sampling."""
        return [i for i in super().get_cat_ids(idx) if i in self.cat2label]

    def pre_pipeline(self, results: dict[str, Any]) -> None:
        """Add mmdet's fields and ``num_classes`` to the input of the pipeline, in place."""
        super().pre_pipeline(results)
        results['num_classes'] = self.categories.num_all

    def __getitem__(self, idx: int) -> dict[str, Any]:
        with naming_image(os.path.join(self.img_prefix or '', self.data_infos[idx]['filename'])):
            return super().__getitem__(idx)

    @functools.cached_property
    def ground_truth(self) -> GroundTruth:
        """The ground truth for evaluation, indexed once for any number of evaluations."""
        return GroundTruth(
            self.coco.dataset, self.categories, self._is_federated, self.img_ids, masks=True
        )

    def evaluate(
        self,
        results: list,
        metric: Metric | Sequence[Metric] = 'bbox',
        logger: logging.Logger | str | None = None,
        classwise: bool = False,
    ) -> dict[str, Any]:
        """Compute average precision and recall over all, base and novel categories.

        Args:
            results: results of mmdet, one per image.
            metric: ``bbox``, ``segm`` or both.
            logger: unused; mmdet passes it.
            classwise: add ``bbox_classwise`` (and ``segm_classwise``), see :func:`class_figures`.

        Returns:
            The metrics of ``coco_metrics`` or ``lvis_metrics``, fractions in [0, 1]. The paper reports
            ``COCO_17_bbox_mAP_50`` and ``bbox_APr``. ``…_copypaste`` are the average precisions as
            text.

        Raises:
            ValueError: unknown metric, the numbers of results and images differ, or masks are missing
                for ``segm``.
        """
        names: list[Metric] = [metric] if isinstance(metric, str) else list(metric)
        detections = Detections.from_results(self.img_ids, results, masks='segm' in names)
        metrics: dict[str, Any] = {}
        for name in names:
            curves = self.ground_truth.curves(detections, name)
            figures = self.ground_truth.summarize(curves, name)
            metrics |= figures | copypaste(figures, name)
            if classwise:
                metrics[f'{name}_classwise'] = class_figures(self.ground_truth, curves)
        return metrics


class _DecodedLVIS(LVIS):
    """The index of lvis-api, for a file that is decoded already."""

    def _load_json(self, path: dict[str, Any]) -> dict[str, Any]:
        return path


@DATASETS.register_module()
class OV_COCO(_OpenVocabularyDataset, CocoDataset):
    """COCO, or a dataset in its format, with base and novel categories and COCO's metrics."""

    _name_key = 'file_name'
    _is_federated = False

    @staticmethod
    def _index(data: dict[str, Any]) -> COCO:
        coco = COCO()
        coco.dataset = data
        coco.createIndex()
        coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs  # mmdet's names
        return coco


@DATASETS.register_module()
class OV_LVIS(_OpenVocabularyDataset, LVISV1Dataset):
    """LVIS v1, whose rare categories are novel, with LVIS's metrics."""

    _name_key = 'coco_url'
    _is_federated = True

    @staticmethod
    def _index(data: dict[str, Any]) -> LVIS:
        return _DecodedLVIS(data)


_OPEN_VOCABULARY = {cls.__name__ for cls in (OV_COCO, OV_LVIS)}
_DISTILLED = ('ViLD', 'OADP')  # the detectors that use CLIP features, as their configs specify
_KEYS = ('trainer', 'validator', 'categories', 'model')
_LOCATIONS = ('data_root', 'ann_file', 'img_prefix', 'seg_prefix', 'proposal_file')


def build_dataset(config: Mapping[str, Any], split: Literal['train', 'val'] = 'train') -> Any:
    """Build a dataset of a config.

    With ``TRAIN_WITH_VAL_DATASET``, the training dataset reads the validation files; with
    ``DRY_RUN``, it has a few images. Both also apply to datasets within wrappers of mmdet. CLIP
    features that no head or loss of ViLD or OADP uses are not loaded.

    Args:
        config: a whole config, as a ``todd.Config`` or another mapping; the dataset of the split,
            ``categories`` and ``model`` are read. It is not modified.
        split: ``train`` or ``val``.

    Raises:
        ValueError: unknown split; see also the datasets.
        FileNotFoundError: see the datasets.
    """
    import_custom_modules(config)
    return build_mmdet_dataset(resolve_dataset(config, split))


def resolve_dataset(
    config: Mapping[str, Any], split: Literal['train', 'val'] = 'train'
) -> dict[str, Any]:
    """Return the config from which mmdet builds the dataset of :func:`build_dataset`.

    Raises:
        ValueError: unknown split.
    """
    if split not in ('train', 'val'):
        raise ValueError(f'unknown split {split!r}; choose from train, val')
    config = to_plain({key: config[key] for key in _KEYS if key in config})
    dataset = _dataset_config(config, split)
    model = config.get('model') or {}
    for inner in _inner_datasets(dataset):
        inner.setdefault('test_mode', split == 'val')
        if 'pipeline' in inner:  # of any dataset of mmdet
            inner['pipeline'] = with_own_reader(inner['pipeline'])
            if split == 'train' and model.get('type') in _DISTILLED:
                inner['pipeline'] = without_unused_features(inner['pipeline'], features_used(model))
        if inner['type'] in _OPEN_VOCABULARY:
            inner.setdefault('categories', config.get('categories'))
            if runtime.dry_run():
                inner['max_images'] = _DRY_RUN_IMAGES
        if split == 'train' and runtime.train_with_val_dataset():
            _use_validation_files(inner, next(_inner_datasets(_dataset_config(config, 'val'))))
    return dataset


def _dataset_config(config: Mapping[str, Any], split: str) -> dict[str, Any]:
    key = f'.{dict(train="trainer", val="validator")[split]}.dataloader'
    loader = section(config, key)
    if 'dataset' not in loader:
        raise ValueError(f'the config has no {key}.dataset; it has {sorted(loader)}')
    return loader['dataset']


def _inner_datasets(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs of the datasets that read files, within wrappers and lists."""
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from _inner_datasets(item)
    elif not isinstance(config, Mapping) or not {'type', 'dataset', 'datasets'} & set(config):
        raise ValueError(
            f'a dataset of the config is {config!r:.80}; expected a dict with its type'
        )
    elif 'dataset' in config or 'datasets' in config:
        yield from _inner_datasets(config.get('dataset', config.get('datasets')))
    else:
        assert isinstance(config, dict)
        yield config


def _use_validation_files(inner: dict[str, Any], validation: Mapping[str, Any]) -> None:
    for key in _LOCATIONS:
        inner.pop(key, None)
        if key in validation:
            inner[key] = validation[key]
    for step in inner['pipeline']:
        if step['type'] == 'LoadCLIPFeatures':
            step['split'] = 'val'
