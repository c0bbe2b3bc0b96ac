"""CLIP's text encoder for sentences that begin alike.

Attention in it is causal: what a token becomes depends on those before it alone. So a common beginning
is encoded once for all sentences, and nothing behind their ends is encoded at all. The numbers are
those of ``encode_text`` on whole, padded sentences; the work is a fraction of it.
"""

__all__ = ['encode_continuations']

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def encode_continuations(model: nn.Module, prefix: Tensor, rests: Tensor, ends: Tensor) -> Tensor:
    """Encode n sentences that share their first tokens. Gradients reach all embeddings.

    Args:
        model: a CLIP.
        prefix: (p, width) token embeddings of what they share, the start token included.
        rests: (n, l, width) token embeddings of what follows; p + l ≤ ``model.context_length``.
        ends: (n,) position in ``rests`` of the end token.

    Returns:
        (n, d), not normalised: ``model.encode_text`` of the sentences.
    """
    p, length = len(prefix), rests.shape[1]
    positions = model.positional_embedding
    shared = (prefix + positions[:p]).unsqueeze(0)
    own = rests + positions[p : p + length]
    mask = _causal_mask(p + length, prefix)
    for block in model.transformer.resblocks:
        shared, own = _block(block, shared, own, mask)
    # Not len(own), here and below, which a trace for an ONNX file would keep as a constant.
    last = own[torch.arange(own.shape[0], device=own.device), ends]
    return model.ln_final(last) @ model.text_projection


def _causal_mask(length: int, like: Tensor) -> Tensor:
    """(length, length), 0 where a row may look at a column, else −∞."""
    return torch.full((length, length), -math.inf, device=like.device, dtype=like.dtype).triu(1)


def _block(block: nn.Module, shared: Tensor, own: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A residual attention block, on (1, p, width) and (n, l, width)."""
    p = shared.shape[1]
    shared_qkv, own_qkv = _project(block, shared), _project(block, own)
    keys, values = (
        torch.cat([before.expand(own.shape[0], -1, -1, -1), after], dim=2)
        for before, after in zip(shared_qkv[1:], own_qkv[1:], strict=True)
    )
    return (
        _finish(block, shared, _attend(*shared_qkv, mask[:p, :p])),
        _finish(block, own, _attend(own_qkv[0], keys, values, mask[p:])),
    )


def _project(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values: each (b, heads, t, width / heads)."""
    attn = block.attn
    qkv = functional.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.reshape(*x.shape[:2], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """(b, t, width)."""
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _finish(block: nn.Module, x: Tensor, attended: Tensor) -> Tensor:
    x = x + block.attn.out_proj(attended)
    return x + block.mlp(block.ln_2(x))
