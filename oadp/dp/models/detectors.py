"""The detectors: a Faster R-CNN that CLIP's image features teach while it trains.

``ViLD`` is taught by the objects alone, ``OADP`` by objects, blocks and the whole image (paper,
section 3). A lesson is a todd loss between a hook on the student's embeddings and features of the
batch; all of them are named in the config, and this module runs them.
"""

__all__ = ['OADP', 'ViLD']

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models import DETECTORS, TwoStageDetector
from todd import Config
from todd.distillers import SelfDistiller, Student
from torch import Tensor

from oadp.categories import Categories, get_categories
from oadp.dp.models.distillation import check_distiller, without_unused
from oadp.dp.models.fill_categories import bind_categories
from oadp.dp.models.heads import GlobalHead

Losses = dict[str, Any]


@DETECTORS.register_module()
class ViLD(TwoStageDetector, Student[SelfDistiller]):
    """Taught CLIP's view of the object boxes (arXiv:2104.13921).

    Args:
        roi_head: config of the RoI head; ``num_classes=None`` is filled in from the categories.
        categories: the category set, or its name, or the path of its JSON file.
        distiller: config of todd's ``SelfDistiller``; None for a detector that no one teaches. An
            entry of its ``losses`` that is None is left out, with the hooks that it alone uses.
        args, kwargs: mmdet's ``TwoStageDetector``.

    Attributes:
        hooked_parts: paths of the modules whose outputs a distillation loss is computed from.

    Raises:
        ValueError: ``num_classes`` contradicts the categories, a prompt file lacks names, or a
            distillation loss asks for what is not there.
    """

    def __init__(
        self,
        *args,
        roi_head: Mapping[str, Any],
        categories: Categories | str,
        distiller: Mapping[str, Any] | None = None,
        **kwargs,
    ) -> None:
        categories = _look_up(categories)
        super().__init__(*args, roi_head=bind_categories(roi_head, categories), **kwargs)
        self.CLASSES = categories.all_
        self._lessons: dict[str, set[str]] = {}  # what each loss is computed from
        self._asked: set[str] = set()  # features of the batch, and hooks
        self.hooked_parts: tuple[str, ...] = ()
        if distiller is not None:
            self._build_distiller(distiller)

    def _build_distiller(self, distiller: Mapping[str, Any]) -> None:
        distiller = without_unused(distiller)
        check_distiller(self, distiller)
        if not distiller['losses']:
            return
        Student.__init__(self, Config(distiller))
        self.hooked_parts = tuple(
            hook['action']['path'] for hook in distiller['student_hooks'].values()
        )
        self._lessons = {loss.name: loss.spec.inputs for loss in self.distiller['losses']}
        adapts = self.distiller['adapts'].spec
        self._asked = adapts.inputs.union(*self._lessons.values()) - adapts.outputs

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
        """The losses by name.

        Args:
            img: (b, 3, h, w), normalised and padded.
            gt_bboxes, gt_labels, gt_bboxes_ignore, gt_masks: as in mmdet.
            clip_objects: each image's (m, d) CLIP features of its object boxes.
            object_bboxes: each image's (m, 4) xyxy object boxes, in pixels of ``img``.
            kwargs: features of the other levels, which are not used here.

        Raises:
            ValueError: the batch lacks what the distiller asks for, or has it in another number.
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
        losses.update(self._learn(clip_objects=clip_objects))
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
        """The boxes, once it is sure that each has its feature, where a lesson asks for those."""
        if f'clip_{kind}s' not in self._asked:
            return boxes
        if boxes is None or features is None:
            raise ValueError(
                f'the distiller asks for {kind}_bboxes and clip_{kind}s, which the batch lacks: '
                'LoadCLIPFeatures loads them and Collect hands them on, in the training pipeline'
            )
        found = [len(b) for b in boxes], [len(f) for f in features]
        if found[0] != found[1]:
            raise ValueError(
                f'{kind}_bboxes and clip_{kind}s differ in number, by image: {found[0]} and '
                f'{found[1]}'
            )
        return boxes

    def _learn(self, **features: Tensor | list[Tensor] | None) -> Losses:
        """The distillation's losses, in float32; the schedule of their weights moves on."""
        if not self._lessons:
            return {}
        student = self.distiller.tensors()
        with torch.autocast(next(iter(student.values())).device.type, enabled=False):
            teacher = {
                k: _join(v) for k, v in features.items() if k in self._asked and v is not None
            }
            missing = self._asked - set(teacher) - set(student)
            if missing:
                raise ValueError(
                    f'the distiller asks for {sorted(missing)}, which the batch lacks: '
                    'LoadCLIPFeatures loads them and Collect hands them on, in the training pipeline'
                )
            losses = self.distiller(teacher)
            nothing = {k for k, v in teacher.items() if not len(v)}
            for name, inputs in self._lessons.items():
                if inputs & nothing:  # the mean of no element is NaN
                    losses[name] = sum(student[k].sum() for k in inputs & set(student)) * 0
        if self.training:
            self.distiller.step()
        self.distiller.reset()
        return losses


@DETECTORS.register_module()
class OADP(ViLD):
    """Taught by the whole pyramid: objects, blocks and the image.

    Args:
        global_head: config of ``GlobalHead``; ``out_features=None`` of its classifier is filled in
            from the categories. None leaves it out.
        args, kwargs: see ``ViLD``.
    """

    def __init__(
        self,
        *args,
        global_head: Mapping[str, Any] | None = None,
        categories: Categories | str,
        distiller: Mapping[str, Any] | None = None,
        **kwargs,
    ) -> None:
        categories = _look_up(categories)
        super().__init__(*args, categories=categories, **kwargs)
        self._global_head = (
            None if global_head is None else GlobalHead(**bind_categories(global_head, categories))
        )
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
        clip_global: Tensor | list[Tensor] | None = None,
        clip_blocks: list[Tensor] | None = None,
        block_bboxes: list[Tensor] | None = None,
        block_labels: list[Tensor] | None = None,
    ) -> Losses:
        """The losses by name.

        Args:
            clip_global: (b, d), or each image's (d,), CLIP feature of the image.
            clip_blocks: each image's (n, d) CLIP features of its blocks.
            block_bboxes: each image's (n, 4) xyxy blocks, in pixels of ``img``.
            block_labels: each image's (n, C) bool: which categories a block holds.

        The others, and what is raised, are those of ``ViLD``.
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
            self._learn(clip_objects=clip_objects, clip_blocks=clip_blocks, clip_global=clip_global)
        )
        return losses


def _look_up(categories: Categories | str) -> Categories:
    return get_categories(categories) if isinstance(categories, str) else categories


def _join(features: Tensor | list[Tensor]) -> Tensor:
    """Features by image, (n, d) or (d,) each, to one (rows, d) float32."""
    if isinstance(features, Tensor):
        return features.float()
    return torch.cat([f.reshape(-1, f.shape[-1]).float() for f in features])
