"""The asymmetric loss against sums worked out by hand and against plain cross-entropy."""

import math

import pytest
import torch
from torch.nn import functional

from oadp.utils.losses import asymmetric_loss


@pytest.mark.parametrize(
    ('p', 'y', 'expected', 'caption'),
    [
        (0.8, 1, -math.log(0.8), 'a positive is plain cross-entropy with gamma_pos = 0'),
        (0.03, 0, 0.0, 'a negative under the margin costs nothing'),
        (0.65, 0, -math.log(0.4) * 0.6**4, 'a negative is shifted by 0.05, then weighted'),
        (0.0, 1, -math.log(1e-8), 'the logarithm is bounded'),
        (1.0, 0, -math.log(0.05) * 0.95**4, 'the margin bounds a certain mistake'),
    ],
)
def test_one_element(p, y, expected, caption):
    loss = asymmetric_loss(torch.tensor([p]), torch.tensor([y]))
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-7), caption


def test_is_cross_entropy_without_margin_and_exponents():
    torch.manual_seed(0)
    p, y = torch.rand(5, 7), torch.rand(5, 7) > 0.5
    loss = asymmetric_loss(p, y, gamma_neg=0, clip=0)
    assert torch.allclose(loss, functional.binary_cross_entropy(p, y.float()))


def test_positive_exponent():
    loss = asymmetric_loss(torch.tensor([0.7]), torch.ones(1), gamma_pos=2)
    assert float(loss) == pytest.approx(-math.log(0.7) * 0.3**2, rel=1e-5)


def test_weights_carry_no_gradient():
    p = torch.tensor([0.65], requires_grad=True)
    asymmetric_loss(p, torch.zeros(1)).backward()
    assert float(p.grad) == pytest.approx(0.6**4 / 0.4, rel=1e-5)


def test_elementwise_and_half_precision():
    p, y = torch.tensor([[0.8, 0.65]]).half(), torch.tensor([[True, False]])
    loss = asymmetric_loss(p, y, reduction='none')
    assert loss.shape == (1, 2) and loss.dtype == torch.float32
    assert torch.allclose(loss.mean(), asymmetric_loss(p, y))


def test_faults():
    with pytest.raises(ValueError, match=r'\(2,\) and targets \(3,\)'):
        asymmetric_loss(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="'sum'"):
        asymmetric_loss(torch.zeros(2), torch.zeros(2), reduction='sum')
