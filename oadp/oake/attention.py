"""Attention of CLIP's tokens among themselves, and of [OBJ] to those of its box."""

__all__ = ['attend']

import torch
from torch import Tensor
from torch.nn import functional

_MAX_SCORES = 1 << 24
"""Scores that products compute at a time, 32 MB in bf16: those of a mini-batch of photographs, or some
rows of those of a large image (11,626 tokens of 4000 × 3000 pixels have 1.6 billion)."""


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention of (b, heads, n, d).

    Args:
        bias: (b, 1, 1, n − 1). Where it is given, the last token is [OBJ], which nothing else sees.
            It sees all but the first, and ``bias`` is added to its scores.

    Returns:
        (b, n, heads · d): the heads of a token side by side.
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
    """(b, heads, n, d) to (b, n, heads · d); not a copy of what a fused kernel gives."""
    return x.transpose(1, 2).flatten(2)


def _by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The same by batched products, which in bf16 on a CPU are faster than the fused kernel.

    Only products use the bf16 instructions there. Of 16 × 12 heads of 198 tokens 14 ms, where the
    fused kernel takes 23 for the image and 5 for [OBJ] (two cores).
    """
    b, heads, n, d = q.shape
    q, k, v = (t.reshape(b * heads, n, d) for t in (q, k, v))
    rows = max(1, _MAX_SCORES // (b * heads * n))
    parts = []
    for start in range(0, n, rows):
        queries = q[:, start : start + rows]
        m = queries.shape[1]
        nothing = q.new_empty(()).expand(b * heads, m, n)  # beta=0: not read
        scores = torch.baddbmm(nothing, queries, k.transpose(1, 2), beta=0, alpha=d**-0.5)
        if bias is not None:
            by_head = scores.view(b, heads, m, n)
            by_head[..., : n - 1 - start, -1] = -torch.inf
            if start + m == n:
                by_head[..., -1, 0] = -torch.inf
                by_head[..., -1, 1:] += bias[:, :, 0]
        parts.append(torch.bmm(scores.softmax(dim=-1), v))
    attended = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return _side_by_side(attended.view(b, heads, n, d))
