"""Losses for configs, as todd losses with a weight or a schedule of the weight."""

__all__ = ['AsymmetricLoss', 'RKDLoss', 'build_loss']

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from todd import Config
from todd.losses import BaseLoss, LossRegistry
from torch import Tensor

from oadp.utils.losses import asymmetric_loss


def build_loss(config: Mapping[str, Any]) -> BaseLoss:
    """Build a todd loss from ``dict(type=…, weight=…)``; the weight is a number or a scheduler."""
    return LossRegistry.build(Config(config))


@LossRegistry.register()
class AsymmetricLoss(BaseLoss):
    """Compute ``oadp.utils.losses.asymmetric_loss`` of logits.

    Args:
        gamma_neg, gamma_pos, clip, eps: see ``asymmetric_loss``.
    """

    def __init__(
        self,
        *args,
        gamma_neg: float = 4.0,
        gamma_pos: float = 0.0,
        clip: float = 0.05,
        eps: float = 1e-8,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._parameters_of_loss = dict(
            gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, eps=eps
        )

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: (n, C), −∞ for categories that are excluded.
            targets: (n, C) bool.
        """
        loss = asymmetric_loss(
            logits.float().sigmoid(), targets, reduction='none', **self._parameters_of_loss
        )
        if not loss.numel():  # the mean of nothing is NaN
            loss = loss.sum()
        return self.reduce(loss)


@LossRegistry.register()
class RKDLoss(BaseLoss):
    """Compute the difference of the similarities among samples: the MSE of the two Gram matrices.

    This is relational knowledge distillation (Park et al., CVPR 2019) with inner products as the
    relation.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss.

        Args:
            student: (n, d) embeddings.
            teacher: (n, d') embeddings; d' may differ from d.
        """
        return F.mse_loss(student @ student.t(), teacher @ teacher.t(), reduction=self.reduction)
