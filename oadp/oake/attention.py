"""Compute the attention of CLIP's tokens, and of the [OBJ] token to the patches of its box."""

__all__ = ['attend']

import torch
from torch import Tensor
from torch.nn import functional

_MAX_SCORES = 1 << 24
"""Maximum number of attention scores in memory, 32 MB in bf16: all scores of a mini-batch of photographs,
or some rows of the scores of a large image (4000 × 3000 pixels give 11,626 tokens and 1.6 billion
scores)."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute scaled dot-product attention.

    Args:
        q: (b, heads, n, d) queries.
        k: (b, heads, n, d) keys.
        v: (b, heads, n, d) values.
        bias: (b, 1, 1, n − 1), added to the scores of the last token, which is then [OBJ]. [OBJ]
            attends to all tokens except the first, and no other token attends to [OBJ]. None if
            there is no [OBJ].

    Returns:
        (b, n, heads · d): the heads of each token, concatenated.
    """
    if q.device.type == 'cpu' and q.dtype == torch.bfloat16:
        return _by_products(q, k, v, bias)
    fused = functional.scaled_dot_product_attention
    if bias is None:
        return _side_by_side(fused(q, k, v))
    image = fused(q[:, :, :-1], k[:, :, :-1], v[:, :, :-1])
    obj = fused(q[:, :, -1:], k[:, :, 1:], v[:, :, 1:], attn_mask=bias)
    return torch.cat([_side_by_side(image), _side_by_side(obj)], dim=1)


def _side_by_side(x: Tensor) -> Tensor:
    """Reshape (b, heads, n, d) to (b, n, heads · d), without a copy of a fused kernel's output."""
    return x.transpose(1, 2).flatten(2)


def _by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Compute the same with batched matrix products, which are faster than the fused kernel in bf16 on a CPU.

    There, only matrix products use the bf16 instructions: 16 × 12 heads of 198 tokens take 14 ms, and
    the fused kernel 23 ms for the image and 5 ms for [OBJ] (two cores).
    """
    b, heads, n, d = q.shape
    q, k, v = (t.reshape(b * heads, n, d) for t in (q, k, v))
    rows = max(1, _MAX_SCORES // (b * heads * n))
    parts = []
    for start in range(0, n, rows):
        queries = q[:, start : start + rows]
        m = queries.shape[1]
        unused = q.new_empty(()).expand(b * heads, m, n)  # not read, since beta=0
        scores = torch.baddbmm(unused, queries, k.transpose(1, 2), beta=0, alpha=d**-0.5)
        if bias is not None:
            by_head = scores.view(b, heads, m, n)
            by_head[..., : n - 1 - start, -1] = -torch.inf
            if start + m == n:
                by_head[..., -1, 0] = -torch.inf
                by_head[..., -1, 1:] += bias[:, :, 0]
        parts.append(torch.bmm(scores.softmax(dim=-1), v))
    attended = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return _side_by_side(attended.view(b, heads, n, d))
