"""Losses that several parts of the project train with, as plain functions of tensors."""

__all__ = ['asymmetric_loss']

import torch
from torch import Tensor


def asymmetric_loss(
    probabilities: Tensor,
    targets: Tensor,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 0.0,
    clip: float = 0.05,
    eps: float = 1e-8,
    reduction: str = 'mean',
) -> Tensor:
    """Binary cross-entropy for many labels, most of them negative (Ridnik et al., ICCV 2021).

    Easy examples weigh less, negatives and positives by exponents of their own, and a negative
    whose probability is under ``clip`` costs nothing. The weights carry no gradient.

    Args:
        probabilities: any shape, in [0, 1]: sigmoids of the logits.
        targets: same shape; 1 or True where the label holds. Other values in between are allowed.
        gamma_neg: exponent for the negatives. The default is the paper's (as are the next three).
        gamma_pos: exponent for the positives.
        clip: probability margin by which the negatives are shifted.
        eps: lower bound of a probability inside of the logarithm.
        reduction: 'mean' over all elements, or 'none'.

    Returns:
        A float32 scalar, or the loss of each element, shaped like ``probabilities``.

    Raises:
        ValueError: shapes differ, or the reduction is unknown.
    """
    if probabilities.shape != targets.shape:
        raise ValueError(
            f'probabilities {tuple(probabilities.shape)} and targets {tuple(targets.shape)} '
            f'differ in shape'
        )
    if reduction not in ('mean', 'none'):
        raise ValueError(f"reduction {reduction!r}: expected 'mean' or 'none'")
    # float16 has no number as small as eps
    positive = probabilities.float()
    negative = (1 - positive + clip).clamp(max=1)
    y = targets.float()
    loss = -(y * positive.clamp(min=eps).log() + (1 - y) * negative.clamp(min=eps).log())
    if gamma_neg > 0 or gamma_pos > 0:
        with torch.no_grad():
            certainty = y * positive + (1 - y) * negative
            loss_weight = (1 - certainty) ** (y * gamma_pos + (1 - y) * gamma_neg)
        loss = loss * loss_weight
    return loss.mean() if reduction == 'mean' else loss
