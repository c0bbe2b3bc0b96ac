"""Open-vocabulary COCO and LVIS: mmdet's datasets with base and novel categories.

The label of a category is its position in the category set, independent of the order and the ids in
the annotation file. In training, only base categories have labels: the logits of novel categories
are −∞, so an annotation of a novel category, as in validation files, would make the loss infinite.
"""

__all__ = ['OV_COCO', 'OV_LVIS']

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mmdet.datasets import DATASETS, CocoDataset, LVISV1Dataset

from oadp.categories import Categories, get_categories
from oadp.data.annotations.checks import AnnotationCheck
from oadp.data.annotations.lists import MIN_TRAINING_SIDE, Need
from oadp.data.annotations.table import DecodedRecords, open_annotations
from oadp.data.proposals import ProposalList, load_proposals
from oadp.dp.data.annotation_index import COCOIndex, ImageRecord, LVISIndex
from oadp.dp.data.annotations_left_out import log_left_out_annotations
from oadp.dp.data.image_reading import naming_image, with_own_reader
from oadp.dp.evaluation import Detections, GroundTruth, class_figures, copypaste
from oadp.dp.evaluation.metrics import Metric
from oadp.utils import runtime

if TYPE_CHECKING:
    from mmdet.datasets import CustomDataset as _Host
else:
    _Host = object


class _OpenVocabularyDataset(_Host):
    """The common part of the two datasets, a mixin for mmdet's classes.

    Attributes:
        annotations: the annotations, which all processes of a machine share.
        coco: their interface of pycocotools (or lvis-api).
        data_infos: the records of the images, decoded at each access.

    Args:
        ann_file: annotations in COCO's (LVIS's) format.
        pipeline: a pipeline of mmdet, in which ``ReadImage`` replaces ``LoadImageFromFile``.
        args, kwargs: arguments of mmdet's ``CocoDataset``, except ``classes``.
        categories: a category set, its name, or the path of its JSON file.
        max_images: the number of images to keep, from the first one; None means all.
        test_mode: whether to test, not to train.

    Raises:
        FileNotFoundError: no such annotation file.
        ValueError: the file has errors, or lacks categories of the set or masks that the pipeline
            loads; or there is no image to train on.
    """

    _name_key: Need
    _is_federated: bool
    _index_class: type[COCOIndex | LVISIndex]
    data_infos: DecodedRecords
    proposals: ProposalList | None

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[Mapping[str, Any]],
        *args,
        categories: Categories | str,
        max_images: int | None = None,
        test_mode: bool = False,
        **kwargs,
    ) -> None:
        if isinstance(categories, str):
            categories = get_categories(categories)
        self.categories = categories
        self._max_images = max_images
        self._with_masks = any(
            isinstance(step, Mapping) and step.get('with_mask') for step in pipeline
        )
        self._is_trained = not test_mode
        # In training, mmdet would decode all records of images to leave some out.
        super().__init__(
            ann_file,
            with_own_reader(pipeline),
            *args,
            classes=categories.all_,
            test_mode=True,
            **kwargs,
        )
        self.test_mode = test_mode
        if self._is_trained:
            self._leave_out_images()
        if not len(self):
            raise ValueError(
                f'{self.ann_file}: no image of at least 32 pixels with an annotation of a base category'
            )

    def load_annotations(self, ann_file: str) -> DecodedRecords:
        """Open the annotations, and return the records of the images."""
        self.annotations = open_annotations(ann_file, self._needs(), self.categories)
        image = ImageRecord(self.annotations, self._name_key)
        self.coco = self._index_class(self.annotations, image)
        self.img_ids = self.annotations.image_ids.tolist()
        ids = {c['name']: c['id'] for c in self.annotations.categories}
        names = self.categories.bases if self._is_trained else self.categories.all_
        self.cat_ids = [ids[name] for name in names]
        self.cat2label = {category_id: label for label, category_id in enumerate(self.cat_ids)}
        if self._is_trained:
            log_left_out_annotations(ann_file, self.annotations, self.cat_ids)
        else:
            self.img_ids = self.img_ids[: self._max_images]
        return DecodedRecords(image, np.arange(len(self.img_ids)))

    def load_proposals(self, proposal_file: str) -> ProposalList:
        """Open proposals that are in the order of the annotation file, see :func:`load_proposals`."""
        table = self.annotations
        sizes = [(width, height) for width, height in table.sizes_wh.tolist()]
        return load_proposals(proposal_file, table.image_ids.tolist(), sizes, False).arrays

    def _needs(self) -> set[Need]:
        """Return what is checked, as mmdet's classes do not check the content of the file."""
        needs: set[Need] = {'annotations', 'size', 'box', self._name_key}
        if self._with_masks and self._is_trained:
            needs.add('mask')
        if self._is_federated and not self._is_trained:
            needs.add('lvis')
        return needs

    def require_masks(self) -> None:
        """Check that each annotation has a mask, which ``segm`` metrics need.

        Raises:
            ValueError: some have no mask; the message lists their ids.
        """
        check = AnnotationCheck({'mask'})
        content = self.annotations.content()
        for name in ('images', 'annotations'):
            for record in content[name]:
                check.add(name, record)
        check.finish(self.ann_file, {'images': 'list'}).raise_errors()

    def _leave_out_images(self) -> None:
        """Leave out images as mmdet does, without decoding all records."""
        indices = self._filter_imgs()
        self.data_infos = self.data_infos.select(indices)
        if self.proposals is not None:
            self.proposals = self.proposals.select(indices)
        self._set_group_flag()

    def _filter_imgs(self, min_size: int = MIN_TRAINING_SIDE) -> list[int]:
        """Return the indices of the images to train on, and keep their ids."""
        table = self.annotations
        is_small = table.sizes_wh.min(axis=1) < min_size
        is_kept = ~is_small
        if self.filter_empty_gt:
            is_kept &= table.has_categories(self.cat_ids)
        indices = np.flatnonzero(is_kept)
        if len(indices) < len(is_kept):
            runtime.get_logger().info(
                '%s: %d of %d images are excluded from training: %d narrower or lower than %d '
                'pixels, the others without an annotation of a base category',
                self.ann_file, len(is_kept) - len(indices), len(is_kept), is_small.sum(), min_size,
            )  # fmt: skip
        indices = indices[: self._max_images]
        self.img_ids = table.image_ids[indices].tolist()
        return indices.tolist()

    def _set_group_flag(self) -> None:
        """Set mmdet's ``flag``: 1 for images that are wider than high."""
        width, height = self.annotations.sizes_wh[self.data_infos.rows].T
        self.flag = (width / height > 1).astype(np.uint8)

    def get_ann_info(self, idx: int) -> dict[str, Any]:
        """Return the boxes, labels and masks of an image, as mmdet's ``CocoDataset``."""
        info = self.data_infos[idx]
        return self._parse_ann_info(info, self.coco.img_ann_map[info['id']])

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the ids of the labeled categories in an image, for class-balanced sampling."""
        rows = self.annotations.rows_of_image(self.data_infos[idx]['id'])
        found = self.annotations.columns.category_ids[rows].tolist()
        return [i for i in found if i in self.cat2label]

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
            self.annotations,
            self.categories,
            self._is_federated,
            self.img_ids,
            masks=True,
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


@DATASETS.register_module()
class OV_COCO(_OpenVocabularyDataset, CocoDataset):
    """COCO, or a dataset in its format, with base and novel categories and COCO's metrics."""

    _name_key = 'file_name'
    _is_federated = False
    _index_class = COCOIndex


@DATASETS.register_module()
class OV_LVIS(_OpenVocabularyDataset, LVISV1Dataset):
    """LVIS v1, whose rare categories are novel, with LVIS's metrics."""

    _name_key = 'coco_url'
    _is_federated = True
    _index_class = LVISIndex
