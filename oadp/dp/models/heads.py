"""Heads that the distillation pyramid adds to a detector, for objects, blocks and the whole image.

Attribute names that begin with an underscore are keys of the released checkpoints: do not rename.
"""

__all__ = [
    'BlockBBoxHead',
    'BlockHeadMixin',
    'GlobalHead',
    'ObjectBBoxHead',
    'ObjectHeadMixin',
    'Shared2FCBlockBBoxHead',
    'Shared4Conv1FCObjectBBoxHead',
    'topk_recall',
]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.runner import BaseModule, force_fp32
from mmdet.models import HEADS
from mmdet.models.roi_heads.bbox_heads import (
    BBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.models.utils import build_linear_layer
from torch import Tensor

from oadp.dp.models.classifiers import BaseClassifier
from oadp.dp.models.losses import build_loss


@torch.no_grad()
def topk_recall(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Return the recall of the labels among each row's k highest logits, in percent.

    Args:
        logits: (n, C).
        targets: (n, C) bool.
        k: the number of logits per row that count as predictions.

    Returns:
        0-d: the mean recall over the categories with labels; 0 without labels.
    """
    top = torch.zeros_like(targets).scatter_(1, logits.topk(min(k, logits.shape[1])).indices, True)
    labels = targets.sum(0)
    recalls = (top & targets).sum(0) / labels.clamp(min=1)
    return 100 * recalls.sum() / (labels > 0).sum().clamp(min=1)


def _check_classifier(head: Any) -> None:
    """Refuse a head without the text embeddings that a distillation loss is computed with."""
    found = getattr(head, 'fc_cls', None)
    if not isinstance(found, BaseClassifier) or not found.has_background:
        raise ValueError(
            f'{type(head).__name__}: expected a classifier of text embeddings with a background, found '
            f"{type(found).__name__}; set cls_predictor_cfg=dict(type='ViLDClassifier', prompts=…) of "
            'this head, or of bbox_head, from which it takes what it does not name'
        )


class ObjectHeadMixin:
    """Make a box head of mmdet the object head, which learns CLIP's features of the object boxes.

    Listed before the box head among the bases of a class. The head classifies at inference. It is
    trained by distillation alone, so no background is learned: its background embedding, a key of the
    checkpoints, is frozen, and the background's logit is −∞. Boxes are those of the box head.

    Raises:
        ValueError: ``cls_predictor_cfg`` is not a classifier of text embeddings.
    """

    fc_cls: BaseClassifier

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, with_reg=False, **kwargs)  # type: ignore[call-arg]  # mmdet's
        _check_classifier(self)
        assert self.fc_cls._bg_embedding is not None
        self.fc_cls._bg_embedding.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return (n, C + 1) logits of (n, c, h, w) RoI features, and None for the regression."""
        logits, _ = super().forward(x)  # type: ignore[misc]  # of the box head
        background = torch.full_like(logits[:, :1], -torch.inf)
        return torch.cat([logits[:, :-1], background], dim=1), None


@HEADS.register_module()
class ObjectBBoxHead(ObjectHeadMixin, BBoxHead):
    """The object head without layers of its own, for RoI heads with a ``shared_head``."""


@HEADS.register_module()
class Shared4Conv1FCObjectBBoxHead(ObjectHeadMixin, Shared4Conv1FCBBoxHead):
    """The object head with four convolutions and a linear layer, as in the paper."""


class BlockHeadMixin:
    """Make a box head of mmdet the block head: it classifies blocks and learns CLIP's features of them.

    Listed before the box head among the bases of a class.

    Args:
        loss: config of a todd loss of (logits, targets); None trains by distillation alone.
        topk: the number of categories per block for the logged recall.
        args: arguments of the box head.
        kwargs: arguments of the box head.

    Raises:
        ValueError: ``cls_predictor_cfg`` is not a classifier of text embeddings.
    """

    fc_cls: BaseClassifier

    def __init__(
        self, *args: Any, loss: Mapping[str, Any] | None, topk: int = 5, **kwargs: Any
    ) -> None:
        super().__init__(*args, with_reg=False, **kwargs)  # type: ignore[call-arg]  # mmdet's
        _check_classifier(self)
        self._loss = None if loss is None else build_loss(loss)
        self._topk = topk
        if loss is None:
            assert self.fc_cls._bg_embedding is not None
            self.fc_cls._bg_embedding.requires_grad_(False)  # it gets no gradient

    @force_fp32(apply_to=('cls_score',))
    def loss(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the multi-label loss, if there is one, and the recall.

        Args:
            cls_score: (n, C + 1) logits; that of the background is not used.
            labels: (n, C) bool.
        """
        logits = cls_score[:, :-1]
        losses = dict(recall_block=topk_recall(logits, labels, self._topk))
        if self._loss is not None:
            losses['loss_block'] = self._loss(logits, labels)
        return losses


@HEADS.register_module()
class BlockBBoxHead(BlockHeadMixin, BBoxHead):
    """The block head without layers of its own, for RoI heads with a ``shared_head``."""


@HEADS.register_module()
class Shared2FCBlockBBoxHead(BlockHeadMixin, Shared2FCBBoxHead):
    """The block head with two linear layers, as in the paper."""


class GlobalHead(BaseModule):
    """Classify the whole image, and learn CLIP's feature of it.

    Args:
        classifier: config of a linear layer for mmdet's ``build_linear_layer``, without a background.
        loss: config of a todd loss of (logits, targets); None trains by distillation alone.
        topk: the number of categories per image for the logged recall.
        init_cfg: mmcv's configuration of the initialization.
    """

    def __init__(
        self,
        classifier: Mapping[str, Any],
        loss: Mapping[str, Any] | None,
        topk: int = 20,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.fp16_enabled = False
        self._classifier = build_linear_layer(classifier)
        self._loss = None if loss is None else build_loss(loss)
        self._topk = topk

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return (b, C) logits of the coarsest of the (b, c, h, w) feature levels."""
        return self._classifier(features[-1].mean(dim=(2, 3)))

    def forward_train(
        self, features: Sequence[Tensor], gt_labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Return the multi-label loss, if there is one, and the recall.

        Args:
            features: the (b, c, h, w) feature levels.
            gt_labels: the labels of each image's annotated boxes; they are the image's labels.
        """
        logits = self(features)
        targets = torch.zeros_like(logits, dtype=torch.bool)
        for row, labels in zip(targets, gt_labels, strict=True):
            row[labels] = True
        return self.loss(logits, targets)

    @force_fp32(apply_to=('logits',))
    def loss(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the multi-label loss of (b, C) logits and bool targets, and the recall."""
        losses = dict(recall_global=topk_recall(logits, targets, self._topk))
        if self._loss is not None:
            losses['loss_global'] = self._loss(logits, targets)
        return losses
