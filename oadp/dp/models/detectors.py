"""The detectors: two-stage detectors of mmdet that are trained with CLIP's image features.

``ViLD`` learns the features of objects, ``OADP`` those of objects, blocks and the whole image (paper,
section 3). A distillation loss is a todd loss between a hook on the student's embeddings and features
of the batch. The config names all of them, and ``distilled`` computes them.

The detector is a Faster R-CNN unless the config names another one of mmdet: ``detector='CascadeRCNN'``.
"""

__all__ = ['OADP', 'ViLD']

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.models import DETECTORS
from torch import Tensor

from oadp.categories import Categories, get_categories
from oadp.dp.models.distilled import DistilledDetector, Losses
from oadp.dp.models.fill_categories import bind_categories
from oadp.dp.models.heads import GlobalHead
from oadp.dp.models.host_detectors import check_roi_head, combine
from oadp.dp.models.level_mixins import BlockLevel, ObjectLevel


@DETECTORS.register_module()
class ViLD(DistilledDetector):
    """A two-stage detector that learns CLIP's features of object boxes (arXiv:2104.13921).

    Args:
        roi_head: config of the RoI head, one of ``oadp.dp.models.roi_heads``; ``num_classes=None`` is
            filled in from the categories.
        categories: the category set, or its name, or the path of its JSON file.
        distiller: config of todd's ``SelfDistiller``; None: no distillation. An entry of its
            ``losses`` that is None is left out, with the hooks that only it uses.
        detector: the name of another two-stage detector in mmdet's ``DETECTORS``, which the object is
            then an instance of as well; None: Faster R-CNN.
        args: arguments of the detector.
        kwargs: arguments of the detector.

    Attributes:
        hooked_parts: paths of the modules whose outputs a distillation loss is computed from.

    Raises:
        ValueError: ``num_classes`` contradicts the categories, a prompt file lacks names, the detector
            or the RoI head does not support distillation, or a distillation loss needs a part or a
            feature that does not exist.
    """

    _level: type = ObjectLevel
    """What the RoI head must be."""

    def __new__(cls, *args: Any, detector: str | None = None, **kwargs: Any) -> 'ViLD':
        """Create an instance of ViLD that is one of the named detector, too."""
        kind: Any = cls
        return super().__new__(kind if detector is None else combine(kind, detector))

    def __init__(
        self,
        *args: Any,
        roi_head: Mapping[str, Any],
        categories: Categories | str,
        distiller: Mapping[str, Any] | None = None,
        detector: str | None = None,
        **kwargs: Any,
    ) -> None:
        categories = _look_up(categories)
        check_roi_head(type(self).__name__, roi_head.get('type'), self._level)
        super().__init__(*args, roi_head=bind_categories(roi_head, categories), **kwargs)
        self.CLASSES = categories.all_
        if distiller is not None:
            self._build_distiller(distiller)

    def forward_train(
        self,
        img: Tensor,
        img_metas: list[dict],
        gt_bboxes: list[Tensor],
        gt_labels: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None = None,
        gt_masks: list | None = None,
        clip_objects: list[Tensor] | None = None,
        object_bboxes: list[Tensor] | None = None,
        **kwargs,
    ) -> Losses:
        """Return the losses by name.

        Args:
            img: (b, 3, h, w), normalized and padded.
            img_metas: as in mmdet.
            gt_bboxes: as in mmdet.
            gt_labels: as in mmdet.
            gt_bboxes_ignore: as in mmdet.
            gt_masks: as in mmdet.
            clip_objects: each image's (m, d) CLIP features of its object boxes.
            object_bboxes: each image's (m, 4) xyxy object boxes, in pixels of ``img``.
            kwargs: features of the other levels, which are not used here.

        Raises:
            ValueError: the batch lacks features that the distiller needs, or has another number of
                them than of boxes.
        """
        _, losses = self._train_heads(
            img,
            img_metas,
            gt_bboxes,
            gt_labels,
            gt_bboxes_ignore,
            gt_masks,
            object_bboxes=self._paired('object', object_bboxes, clip_objects),
        )
        losses.update(self._distill(clip_objects=clip_objects))
        return losses

    def _train_heads(
        self,
        img: Tensor,
        img_metas: list[dict],
        gt_bboxes: list[Tensor],
        gt_labels: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None,
        gt_masks: list | None,
        **boxes: list[Tensor] | None,
    ) -> tuple[Sequence[Tensor], Losses]:
        """Return the feature levels, and the losses of the RPN and the RoI head.

        Args:
            img: see ``forward_train``; so are the other arguments.
            img_metas: as in mmdet.
            gt_bboxes: as in mmdet.
            gt_labels: as in mmdet.
            gt_bboxes_ignore: as in mmdet.
            gt_masks: as in mmdet.
            boxes: what the RoI head's ``forward_train`` takes besides mmdet's arguments.
        """
        features = self.extract_feat(img)
        losses, proposals = self.rpn_head.forward_train(
            features,
            img_metas,
            gt_bboxes,
            gt_labels=None,  # class-agnostic
            gt_bboxes_ignore=gt_bboxes_ignore,
            proposal_cfg=self.train_cfg.get('rpn_proposal', self.test_cfg.rpn),
        )
        losses.update(
            self.roi_head.forward_train(
                features,
                img_metas,
                proposals,
                gt_bboxes,
                gt_labels,
                gt_bboxes_ignore,
                gt_masks,
                **boxes,
            )
        )
        return features, losses


@DETECTORS.register_module()
class OADP(ViLD):
    """A two-stage detector that learns the whole pyramid: objects, blocks and the image.

    Args:
        global_head: config of ``GlobalHead``; ``out_features=None`` of its classifier is filled in
            from the categories. None: no global head.
        categories: see ``ViLD``.
        distiller: see ``ViLD``.
        args: see ``ViLD``.
        kwargs: see ``ViLD``.
    """

    _level = BlockLevel

    def __init__(
        self,
        *args: Any,
        global_head: Mapping[str, Any] | None = None,
        categories: Categories | str,
        distiller: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        categories = _look_up(categories)
        super().__init__(*args, categories=categories, **kwargs)
        self._global_head = (
            None if global_head is None else GlobalHead(**bind_categories(global_head, categories))
        )
        if distiller is not None:
            self._build_distiller(distiller)

    def forward_train(  # type: ignore[override]  # all keys of a batch are known
        self,
        img: Tensor,
        img_metas: list[dict],
        gt_bboxes: list[Tensor],
        gt_labels: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None = None,
        gt_masks: list | None = None,
        clip_objects: list[Tensor] | None = None,
        object_bboxes: list[Tensor] | None = None,
        clip_global: Tensor | list[Tensor] | None = None,
        clip_blocks: list[Tensor] | None = None,
        block_bboxes: list[Tensor] | None = None,
        block_labels: list[Tensor] | None = None,
    ) -> Losses:
        """Return the losses by name.

        Args:
            img: see ``ViLD``.
            img_metas: see ``ViLD``.
            gt_bboxes: see ``ViLD``.
            gt_labels: see ``ViLD``.
            gt_bboxes_ignore: see ``ViLD``.
            gt_masks: see ``ViLD``.
            clip_objects: see ``ViLD``.
            object_bboxes: see ``ViLD``.
            clip_global: (b, d), or each image's (d,), CLIP feature of the image.
            clip_blocks: each image's (n, d) CLIP features of its blocks.
            block_bboxes: each image's (n, 4) xyxy blocks, in pixels of ``img``.
            block_labels: each image's (n, C) bool: the categories in a block.

        Raises:
            ValueError: see ``ViLD``.
        """
        features, losses = self._train_heads(
            img,
            img_metas,
            gt_bboxes,
            gt_labels,
            gt_bboxes_ignore,
            gt_masks,
            object_bboxes=self._paired('object', object_bboxes, clip_objects),
            block_bboxes=self._paired('block', block_bboxes, clip_blocks),
            block_labels=block_labels,
        )
        if self._global_head is not None:
            losses.update(self._global_head.forward_train(features, gt_labels))
        losses.update(
            self._distill(
                clip_objects=clip_objects, clip_blocks=clip_blocks, clip_global=clip_global
            )
        )
        return losses


def _look_up(categories: Categories | str) -> Categories:
    return get_categories(categories) if isinstance(categories, str) else categories
