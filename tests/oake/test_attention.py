"""Attention with [OBJ] equals the definition, computed in float64 token by token."""

import pytest
import torch

from oadp.oake import attention
from oadp.oake.attention import attend

B, HEADS, N, D = 3, 2, 7, 8


def tokens() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, HEADS, N, D, generator=generator) for _ in range(3)]


def attend_to(query: torch.Tensor, k: torch.Tensor, v: torch.Tensor, shift: float | torch.Tensor):
    """Return (b, heads, d): the weighted mean of the values for one query."""
    scores = (query[:, :, None] * k).sum(dim=-1) * D**-0.5 + shift
    return (scores.softmax(dim=-1)[..., None] * v).sum(dim=2)


@pytest.mark.parametrize(('dtype', 'atol'), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('rows', [N, 4, 3, 1])
def test_equals_the_definition(
    dtype: torch.dtype, atol: float, masked: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, '_MAX_SCORES', rows * B * HEADS * N)
    q, k, v = (t.to(dtype) for t in tokens())
    bias = torch.zeros(B, 1, 1, N - 1, dtype=dtype)
    bias[0, ..., 1:4], bias[1, ..., :-1] = -100, -100
    before = bias.clone()
    with torch.inference_mode():
        result = attend(q, k, v, bias if masked else None).double()
    result = result.view(B, N, HEADS, D).transpose(1, 2)
    assert torch.equal(bias, before)
    q, k, v, bias = q.double(), k.double(), v.double(), bias.double()
    image = N - 1 if masked else N
    for i in range(image):
        expected = attend_to(q[:, :, i], k[:, :, :image], v[:, :, :image], 0.0)
        torch.testing.assert_close(result[:, :, i], expected, atol=atol, rtol=0)
    if masked:
        expected = attend_to(q[:, :, -1], k[:, :, 1:], v[:, :, 1:], bias[:, :, 0])
        torch.testing.assert_close(result[:, :, -1], expected, atol=atol, rtol=0)
        # The second image's [OBJ] sees itself alone.
        torch.testing.assert_close(result[1, :, -1], v[1, :, -1], atol=atol, rtol=0)


def test_scores_of_a_large_image_are_computed_in_parts(monkeypatch) -> None:
    sizes = []
    products = torch.bmm

    def bmm(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        sizes.append(weights.numel())
        return products(weights, values)

    monkeypatch.setattr(torch, 'bmm', bmm)
    q = torch.zeros(1, 12, 3000, 4, dtype=torch.bfloat16)
    assert attend(q, q, q).shape == (1, 3000, 48)
    assert max(sizes) <= 1 << 24 and sum(sizes) == 12 * 3000 * 3000
