"""The object and block levels of the pyramid, for any RoI head of mmdet that has box heads.

A mixin is listed before a RoI head of mmdet among the bases of a class (see ``roi_heads``). The RoI
head may have one box head, or one per stage of a cascade; it may have a ``shared_head``.

Attribute names that begin with an underscore are keys of the released checkpoints: do not rename.
"""

__all__ = ['BlockLevel', 'ObjectLevel']

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.core import bbox2roi
from mmdet.models.builder import build_head
from torch import Tensor, nn

from oadp.dp.fusion.scores import FusionParameters
from oadp.dp.models.predictions import FusedPrediction, stages
from oadp.dp.models.roi_features import pooled_along


class ObjectLevel(FusedPrediction):
    """Add an object head to a RoI head (ViLD-ensemble, arXiv:2104.13921, section 3.4).

    Args:
        bbox_head: config of the box head, or a list of them, one per stage.
        object_head: config of the object head; its missing keys are those of ``bbox_head`` (of the
            last stage). None: no object head; nothing is learned from CLIP's features of objects, and
            the score is that of the box head.
        fusion: parameters of the score fusion by name; the paper's by default.
        args: arguments of the RoI head.
        kwargs: arguments of the RoI head.

    Raises:
        ValueError: ``fusion`` has wrong parameters, or there is no object head to fuse with.

    Attributes:
        fusion: may be set to other ``FusionParameters`` at any time.
    """

    bbox_head: Any
    bbox_roi_extractor: Any
    shared_head: Any
    mask_head: Any
    with_mask: bool
    with_shared_head: bool

    def __init__(
        self,
        *args: Any,
        bbox_head: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        object_head: Mapping[str, Any] | None = None,
        fusion: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, bbox_head=bbox_head, **kwargs)  # type: ignore[call-arg]  # mmdet's
        if fusion and object_head is None:
            raise ValueError(f'fusion={dict(fusion)}, and there is no object_head to fuse with')
        self.fusion = FusionParameters.from_mapping(fusion or {})
        self._object_head = _build_beside(bbox_head, object_head)

    def set_vocabulary(
        self,
        names: Sequence[str],
        is_base: Tensor,
        bbox_embeddings: Tensor,
        object_embeddings: Tensor | None = None,
    ) -> None:
        """Detect other categories from now on.

        Args:
            names: C names, any number.
            is_base: (C,) bool: which of them had boxes in the training.
            bbox_embeddings: (C, d) text embeddings, of the kind that the box head was trained with.
            object_embeddings: (C, d) text embeddings for the object head; None uses those of the box
                head.
        """
        heads = [(head, bbox_embeddings) for head in stages(self.bbox_head)]
        if self._object_head is not None:
            given = bbox_embeddings if object_embeddings is None else object_embeddings
            heads.append((self._object_head, given))
        for head, embeddings in heads:
            head.fc_cls.set_embeddings(names, embeddings, is_base)
            head.num_classes = len(names)
        if self.with_mask:
            self.mask_head.num_classes = len(names)

    def forward_train(
        self,
        x: Sequence[Tensor],
        img_metas: list[dict],
        proposal_list: list[Tensor],
        gt_bboxes: list[Tensor],
        gt_labels: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None = None,
        gt_masks: list | None = None,
        object_bboxes: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of the RoI head, and run the object head for the distillation.

        Args:
            x: the feature levels.
            img_metas: as in mmdet.
            proposal_list: as in mmdet.
            gt_bboxes: as in mmdet.
            gt_labels: as in mmdet.
            gt_bboxes_ignore: as in mmdet.
            gt_masks: as in mmdet.
            object_bboxes: each image's (m, 4) xyxy object boxes in the network's input; None does
                not run the object head.
        """
        losses, _ = self._train(
            [(self._object_head, object_bboxes)],
            x,
            img_metas,
            proposal_list,
            gt_bboxes,
            gt_labels,
            gt_bboxes_ignore,
            gt_masks,
        )
        return losses

    def _train(
        self,
        others: Sequence[tuple[nn.Module | None, list[Tensor] | None]],
        x: Sequence[Tensor],
        *args: Any,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the losses of the RoI head, and the logits of other heads on boxes of their own.

        The RoI features of all boxes are computed in one pass, that of the (last) box head's samples.

        Args:
            others: heads, and each image's (n, 4) xyxy boxes for them. Without a head or boxes, an entry
                is left out.
            x: the feature levels.
            args: further arguments of the RoI head.
        """
        present = [
            (head, boxes) for head, boxes in others if head is not None and boxes is not None
        ]
        rois = [bbox2roi(boxes) for _, boxes in present]
        extractor = self._extractor()
        with pooled_along(extractor, rois) as pooled:
            losses = super().forward_train(x, *args)  # type: ignore[misc]  # of the RoI head
        if not pooled:  # a cascade may end before its last stage
            pooled = [extractor(x[: extractor.num_inputs], r) for r in rois]
        logits = [
            self._classify(head, features)
            for (head, _), features in zip(present, pooled, strict=True)
        ]
        return losses, logits

    def _extractor(self) -> Any:
        return stages(self.bbox_roi_extractor)[-1]

    def _look_at(self, x: Sequence[Tensor], boxes: list[Tensor], head: nn.Module) -> Tensor:
        """Return a head's (n, C + 1) logits of all images' boxes, in the order of the images."""
        extractor = self._extractor()
        return self._classify(head, extractor(x[: extractor.num_inputs], bbox2roi(boxes)))

    def _classify(self, head: nn.Module, features: Tensor) -> Tensor:
        """Return a head's (n, C + 1) logits of (n, c, h, w) RoI features."""
        if len(features):
            return head(self._share(features))[0]
        # SyncBN sends its sums in float32, but in its input's type if that is empty; in fp16 a process
        # without boxes would then send another type than the others.
        with torch.autocast(features.device.type, enabled=False):
            return head(self._share(features.float()))[0]

    def _share(self, features: Tensor) -> Tensor:
        return self.shared_head(features) if self.with_shared_head else features


class BlockLevel(ObjectLevel):
    """Add an object head and a block head: the middle and the fine level of the pyramid.

    Args:
        bbox_head: config of the box head, or a list of them, one per stage.
        block_head: config of the block head; its missing keys are those of ``bbox_head`` (of the last
            stage). None: no block head.
        args: see ``ObjectLevel``.
        kwargs: see ``ObjectLevel``.
    """

    def __init__(
        self,
        *args: Any,
        bbox_head: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        block_head: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, bbox_head=bbox_head, **kwargs)
        self._block_head = _build_beside(bbox_head, block_head)

    def forward_train(
        self,
        x: Sequence[Tensor],
        *args: Any,
        object_bboxes: list[Tensor] | None = None,
        block_bboxes: list[Tensor] | None = None,
        block_labels: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of ``ObjectLevel``, and those of the block head.

        Args:
            x: the feature levels.
            args: see ``ObjectLevel.forward_train``.
            object_bboxes: see ``ObjectLevel.forward_train``.
            block_bboxes: each image's (m, 4) xyxy blocks in the network's input.
            block_labels: each image's (m, C) bool: the categories in a block.

        Raises:
            ValueError: there is a block head, and the batch lacks blocks or their labels.
        """
        if self._block_head is None:
            losses, _ = self._train([(self._object_head, object_bboxes)], x, *args)
            return losses
        if block_bboxes is None or block_labels is None:
            raise ValueError(
                'the block head needs block_bboxes and block_labels, which the batch lacks: '
                'LoadCLIPFeatures loads them and Collect passes them on, in the training pipeline'
            )
        others = [(self._object_head, object_bboxes), (self._block_head, block_bboxes)]
        losses, (*_, logits) = self._train(others, x, *args)
        losses.update(self._block_head.loss(logits, torch.cat(block_labels)))
        return losses


def _build_beside(
    bbox_head: Mapping[str, Any] | Sequence[Mapping[str, Any]], head: Mapping[str, Any] | None
) -> nn.Module | None:
    if head is None:
        return None
    defaults = bbox_head if isinstance(bbox_head, Mapping) else bbox_head[-1]
    return build_head({**defaults, **head})
