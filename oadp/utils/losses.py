"""Losses that several parts of the project use, as functions of tensors."""

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
    """Compute the asymmetric loss for multi-label classification (Ridnik et al., ICCV 2021).

    It is a binary cross-entropy in which easy examples have a lower weight, with separate exponents for
    negatives and positives, and in which a negative with a probability below ``clip`` has no loss. The
    weights have no gradient.

    Args:
        probabilities: any shape, in [0, 1]: sigmoids of the logits.
        targets: same shape; 1 or True for positive labels. Values between 0 and 1 are allowed.
        gamma_neg: exponent for the negatives. Defaults to the paper's value (as do the next three).
        gamma_pos: exponent for the positives.
        clip: probability margin by which the negatives are shifted.
        eps: lower bound of a probability in the logarithm.
        reduction: 'mean' over all elements, or 'none'.

    Returns:
        A float32 scalar, or the loss of each element, with the shape of ``probabilities``.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    if probabilities.shape != targets.shape:
        raise ValueError(
            f'probabilities {tuple(probabilities.shape)} and targets {tuple(targets.shape)} '
            f'differ in shape'
        )
    if reduction not in ('mean', 'none'):
        raise ValueError(f"reduction {reduction!r}: expected 'mean' or 'none'")
    # float16 cannot represent eps
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
