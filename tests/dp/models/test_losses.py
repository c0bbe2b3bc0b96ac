import numpy as np
import pytest
import torch
from todd.losses import LossRegistry

from oadp.dp.models.losses import build_loss


def test_asymmetric_loss_takes_logits():
    logits = torch.tensor([[2.0, -1.0, 0.5], [-torch.inf, 0.0, 3.0]])
    targets = torch.tensor([[True, False, False], [False, True, False]])
    loss = build_loss(
        dict(
            type='AsymmetricLoss',
            weight=dict(type='ConstantScheduler', gain=0.5),
            gamma_neg=2.0,
            gamma_pos=1.0,
            clip=0.1,
        )
    )
    # Compute the formula element by element.
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + np.exp(-x))
        pt = p if y else min(1 - p + 0.1, 1)
        total -= np.log(pt) * (1 - pt) ** (1.0 if y else 2.0)
    assert loss(logits, targets).item() == pytest.approx(0.5 * total / 6, rel=1e-5)


def test_asymmetric_loss_of_an_excluded_category():
    """A positive label with a logit of −∞ has a loss of −log ε and no gradient."""
    logits = torch.tensor([[-torch.inf, 1.0]], requires_grad=True)
    loss = build_loss(dict(type='AsymmetricLoss'))(logits, torch.tensor([[True, True]]))
    loss.backward()
    p = 1 / (1 + np.exp(-1.0))
    assert loss.item() == pytest.approx((-np.log(1e-8) - np.log(p)) / 2, rel=1e-5)
    assert logits.grad[0].tolist() == pytest.approx([0.0, -(1 - p) / 2], rel=1e-5)


def test_relations():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3), torch.randn(5, 4)
    gap = [
        float(student[i] @ student[j]) - float(teacher[i] @ teacher[j])
        for i in range(5)
        for j in range(5)
    ]
    loss = build_loss(dict(type='RKDLoss', weight=8.0))
    assert loss(student, teacher).item() == pytest.approx(8 * np.mean(np.square(gap)), rel=1e-5)


def test_weight_warms_up():
    loss = build_loss(dict(type='RKDLoss', weight=dict(type='WarmupScheduler', gain=10.0, end=4)))
    weights = []
    for _ in range(6):
        weights.append(loss.weight)
        loss._weight.step()
    assert weights == [2.5, 5.0, 7.5, 10.0, 10.0, 10.0]
    assert set(loss.state_dict()) == {'_weight._steps'}


def test_losses_are_registered_in_todd():
    assert {'AsymmetricLoss', 'RKDLoss'} <= set(LossRegistry)
