"""The detectors: two-stage detectors of mmdet that are trained with CLIP's image features.

``ViLD`` learns the features of objects, ``OADP`` those of objects, blocks and the whole image (paper,
section 3). A distillation loss is a todd loss between a hook on the student's embeddings and features
of the batch. The config names all of them, and this module computes them.

The detector is a Faster R-CNN unless the config names another one of mmdet: ``detector='CascadeRCNN'``.
"""

__all__ = ['OADP', 'ViLD']

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models import DETECTORS, HEADS, TwoStageDetector
from todd import Config
from todd.distillers import SelfDistiller, Student
from torch import Tensor

from oadp.categories import Categories, get_categories
from oadp.dp.models.distillation import check_distiller, without_unused
from oadp.dp.models.fill_categories import bind_categories
from oadp.dp.models.heads import GlobalHead
from oadp.dp.models.level_mixins import BlockLevel, ObjectLevel

Losses = dict[str, Any]

_ROI_HEADS: dict[type, str] = {
    ObjectLevel: "'ViLDEnsembleRoIHead', or 'ViLDCascadeRoIHead' for a cascade",
    BlockLevel: "'OADPRoIHead', or 'OADPCascadeRoIHead' for a cascade",
}
"""Level of the pyramid to the RoI heads that have it, for error messages."""


@functools.cache
def _combine(distilled: type, name: str) -> type:
    """Return a subclass of ViLD or OADP, and of a detector of mmdet.

    Raises:
        ValueError: the detector is unknown, or its training is not that of ``TwoStageDetector``, of
            which ``ViLD`` and ``OADP`` take the place.
    """
    host = DETECTORS.get(name)
    if host is None:
        raise ValueError(
            f'model.detector is {name!r}: expected a two-stage detector of mmdet, such as '
            "'FasterRCNN', 'MaskRCNN' or 'CascadeRCNN'"
        )
    is_two_stage = issubclass(host, TwoStageDetector) and not issubclass(host, ViLD)
    if not is_two_stage or host.forward_train is not TwoStageDetector.forward_train:
        raise ValueError(
            f'model.detector is {name!r}, which trains by a forward_train of its own: expected a '
            "detector that trains by mmdet's TwoStageDetector.forward_train, such as 'FasterRCNN', "
            "'MaskRCNN' or 'CascadeRCNN'"
        )
    return type(f'{distilled.__name__}{name}', (distilled, host), {'__module__': __name__})


@DETECTORS.register_module()
class ViLD(TwoStageDetector, Student[SelfDistiller]):
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
        return super().__new__(kind if detector is None else _combine(kind, detector))

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
        self._check_roi_head(roi_head.get('type'))
        super().__init__(*args, roi_head=bind_categories(roi_head, categories), **kwargs)
        self.CLASSES = categories.all_
        self._loss_inputs: dict[str, set[str]] = {}  # of each distillation loss
        self._needed: set[str] = set()  # features of the batch, and hooks
        self.hooked_parts: tuple[str, ...] = ()
        if distiller is not None:
            self._build_distiller(distiller)

    def _check_roi_head(self, name: Any) -> None:
        kind = HEADS.get(name) if isinstance(name, str) else name
        if isinstance(kind, type) and not issubclass(kind, self._level):
            raise ValueError(
                f'model.roi_head is {kind.__name__}, which lacks the heads of {type(self).__name__}: '
                f'expected a subclass of {self._level.__name__} (oadp.dp.models.level_mixins), such as '
                f'{_ROI_HEADS[self._level]}'
            )

    def _build_distiller(self, distiller: Mapping[str, Any]) -> None:
        distiller = without_unused(distiller)
        check_distiller(self, distiller)
        if not distiller['losses']:
            return
        Student.__init__(self, Config(distiller))
        self.hooked_parts = tuple(
            hook['action']['path'] for hook in distiller['student_hooks'].values()
        )
        self._loss_inputs = {loss.name: loss.spec.inputs for loss in self.distiller['losses']}
        adapts = self.distiller['adapts'].spec
        self._needed = adapts.inputs.union(*self._loss_inputs.values()) - adapts.outputs

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
        features, losses, proposals = self._train_rpn(img, img_metas, gt_bboxes, gt_bboxes_ignore)
        losses.update(
            self.roi_head.forward_train(
                features,
                img_metas,
                proposals,
                gt_bboxes,
                gt_labels,
                gt_bboxes_ignore,
                gt_masks,
                object_bboxes=self._paired('object', object_bboxes, clip_objects),
            )
        )
        losses.update(self._distill(clip_objects=clip_objects))
        return losses

    def _train_rpn(
        self,
        img: Tensor,
        img_metas: list[dict],
        gt_bboxes: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None,
    ) -> tuple[Sequence[Tensor], Losses, list[Tensor]]:
        features = self.extract_feat(img)
        losses, proposals = self.rpn_head.forward_train(
            features,
            img_metas,
            gt_bboxes,
            gt_labels=None,  # class-agnostic
            gt_bboxes_ignore=gt_bboxes_ignore,
            proposal_cfg=self.train_cfg.get('rpn_proposal', self.test_cfg.rpn),
        )
        return features, losses, proposals

    def _paired(
        self, kind: str, boxes: list[Tensor] | None, features: list[Tensor] | None
    ) -> list[Tensor] | None:
        """Return the boxes; check that each has a feature, if a distillation loss needs features."""
        if f'clip_{kind}s' not in self._needed:
            return boxes
        if boxes is None or features is None:
            raise ValueError(
                f'the distiller needs {kind}_bboxes and clip_{kind}s, which the batch lacks: '
                'LoadCLIPFeatures loads them and Collect passes them on, in the training pipeline'
            )
        found = [len(b) for b in boxes], [len(f) for f in features]
        if found[0] != found[1]:
            raise ValueError(
                f'{kind}_bboxes and clip_{kind}s differ in number, by image: {found[0]} and '
                f'{found[1]}'
            )
        return boxes

    def _distill(self, **features: Tensor | list[Tensor] | None) -> Losses:
        """Return the distillation losses, in float32, and advance the schedules of their weights."""
        if not self._loss_inputs:
            return {}
        student = self.distiller.tensors()
        with torch.autocast(next(iter(student.values())).device.type, enabled=False):
            teacher = {
                k: _join(v) for k, v in features.items() if k in self._needed and v is not None
            }
            missing = self._needed - set(teacher) - set(student)
            if missing:
                raise ValueError(
                    f'the distiller needs {sorted(missing)}, which the batch lacks: '
                    'LoadCLIPFeatures loads them and Collect passes them on, in the training pipeline'
                )
            losses = self.distiller(teacher)
            nothing = {k for k, v in teacher.items() if not len(v)}
            for name, inputs in self._loss_inputs.items():
                if inputs & nothing:  # the mean of no element is NaN
                    losses[name] = sum(student[k].sum() for k in inputs & set(student)) * 0
        if self.training:
            self.distiller.step()
        self.distiller.reset()
        return losses


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
        features, losses, proposals = self._train_rpn(img, img_metas, gt_bboxes, gt_bboxes_ignore)
        losses.update(
            self.roi_head.forward_train(
                features,
                img_metas,
                proposals,
                gt_bboxes,
                gt_labels,
                gt_bboxes_ignore,
                gt_masks,
                object_bboxes=self._paired('object', object_bboxes, clip_objects),
                block_bboxes=self._paired('block', block_bboxes, clip_blocks),
                block_labels=block_labels,
            )
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


def _join(features: Tensor | list[Tensor]) -> Tensor:
    """Concatenate the features of all images, (n, d) or (d,) each, to one (rows, d) float32."""
    if isinstance(features, Tensor):
        return features.float()
    return torch.cat([f.reshape(-1, f.shape[-1]).float() for f in features])
