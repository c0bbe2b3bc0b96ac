"""The linear layer with an order of weights of its own, against the formula in float64."""

import pytest
import torch

from oadp.oake import linear
from oadp.oake.linear import Linear

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def make(dtype: torch.dtype) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight, bias, x, residual = (
        torch.randn(size, generator=generator) for size in ((48, 32), (48,), (2, 7, 32), (2, 7, 48))
    )
    return Linear(weight / 6, bias).to(dtype), x.to(dtype), residual.to(dtype)


@pytest.fixture(params=['kernels of this processor', 'plain'])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == 'plain':
        monkeypatch.setattr(linear, '_has_operators', lambda dtype: False)


@pytest.mark.usefixtures('_kernels')
@pytest.mark.parametrize('dtype', TOLERANCE)
@torch.inference_mode()
def test_it_is_a_product_with_what_follows_it(dtype: torch.dtype) -> None:
    layer, x, residual = make(dtype)
    product = x.double() @ layer.weight.double().t() + layer.bias.double()
    for result, expected in (
        (layer(x), product),
        (layer.silu(x), product * product.sigmoid()),
        (layer.add_to(residual, x), product + residual.double()),
    ):
        assert result.dtype == dtype
        error = (result.double() - expected).abs() / (1 + expected.abs())
        assert error.max() < TOLERANCE[dtype]


@torch.inference_mode()
def test_it_has_no_bias_unless_it_is_given_one() -> None:
    layer, x, _ = make(torch.bfloat16)
    without = Linear(layer.weight)
    assert without.bias is None
    torch.testing.assert_close(without(x), layer(x) - layer.bias, atol=2e-2, rtol=2e-2)


@torch.inference_mode()
def test_weights_in_another_format_are_used_in_it() -> None:
    layer, x, _ = make(torch.bfloat16)
    before = layer(x)
    result = layer.float()(x.float())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, before.float(), atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(layer.bfloat16()(x), before, atol=0, rtol=0)
