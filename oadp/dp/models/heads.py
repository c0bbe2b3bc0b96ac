"""Heads that the distillation pyramid adds to the detector: objects, blocks, the whole image.

Attribute names that begin with an underscore are keys of the released checkpoints: do not rename.
"""

__all__ = [
    'GlobalHead',
    'Shared2FCBlockBBoxHead',
    'Shared4Conv1FCObjectBBoxHead',
    'topk_recall',
]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.runner import BaseModule, force_fp32
from mmdet.models import HEADS
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead, Shared4Conv1FCBBoxHead
from mmdet.models.utils import build_linear_layer
from torch import Tensor

from oadp.dp.models.losses import build_loss


@torch.no_grad()
def topk_recall(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """How many of the labels are among each row's k highest logits, in percent.

    Args:
        logits: (n, C).
        targets: (n, C) bool.

    Returns:
        0-d: the mean over the categories that have a label of each one's recall; 0 without any.
    """
    top = torch.zeros_like(targets).scatter_(1, logits.topk(min(k, logits.shape[1])).indices, True)
    labels = targets.sum(0)
    recalls = (top & targets).sum(0) / labels.clamp(min=1)
    return 100 * recalls.sum() / (labels > 0).sum().clamp(min=1)


@HEADS.register_module()
class Shared4Conv1FCObjectBBoxHead(Shared4Conv1FCBBoxHead):
    """The object head: taught CLIP's view of the object boxes, it classifies at inference.

    It is trained by distillation alone, so there is no background to learn: its background
    embedding, a key of the checkpoints, is frozen, and the logit −∞. Boxes are the box head's.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, with_reg=False, **kwargs)
        self.fc_cls._bg_embedding.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(n, c, 7, 7) RoI features to (n, C + 1) logits, and no box regression."""
        logits, _ = super().forward(x)
        background = torch.full_like(logits[:, :1], -torch.inf)
        return torch.cat([logits[:, :-1], background], dim=1), None


@HEADS.register_module()
class Shared2FCBlockBBoxHead(Shared2FCBBoxHead):
    """The block head: which categories a block of the image holds, and CLIP's view of it.

    Args:
        loss: a todd loss of (logits, targets); None leaves the labels to the distillation.
        topk: how many categories a block the logged recall looks at.
    """

    def __init__(self, *args, loss: Mapping[str, Any] | None, topk: int = 5, **kwargs) -> None:
        super().__init__(*args, with_reg=False, **kwargs)
        self._loss = None if loss is None else build_loss(loss)
        self._topk = topk
        if loss is None:
            self.fc_cls._bg_embedding.requires_grad_(False)  # no loss reaches it

    @force_fp32(apply_to=('cls_score',))
    def loss(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The multi-label loss, where there is one, and the recall.

        Args:
            cls_score: (n, C + 1) logits; the background's has no part in it.
            labels: (n, C) bool.
        """
        logits = cls_score[:, :-1]
        losses = dict(recall_block=topk_recall(logits, labels, self._topk))
        if self._loss is not None:
            losses['loss_block'] = self._loss(logits, labels)
        return losses


class GlobalHead(BaseModule):
    """The image head: which categories the image holds, and CLIP's view of it.

    Args:
        classifier: a linear layer for mmdet's ``build_linear_layer``, without a background.
        loss: a todd loss of (logits, targets); None leaves the labels to the distillation.
        topk: how many categories an image the logged recall looks at.
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
        """The pyramid's (b, c, h, w) levels, of which the coarsest is used, to (b, C) logits."""
        return self._classifier(features[-1].mean(dim=(2, 3)))

    def forward_train(
        self, features: Sequence[Tensor], gt_labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """The multi-label loss with the labels of each image's boxes, as annotated, and the recall."""
        logits = self(features)
        targets = torch.zeros_like(logits, dtype=torch.bool)
        for row, labels in zip(targets, gt_labels, strict=True):
            row[labels] = True
        return self.loss(logits, targets)

    @force_fp32(apply_to=('logits',))
    def loss(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        losses = dict(recall_global=topk_recall(logits, targets, self._topk))
        if self._loss is not None:
            losses['loss_global'] = self._loss(logits, targets)
        return losses
