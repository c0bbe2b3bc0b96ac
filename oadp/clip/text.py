"""Encode sentences that share a prefix with CLIP's text encoder.

The attention of the encoder is causal: the output of a token depends only on the tokens before it. So a
common prefix is encoded once for all sentences, and tokens after the end of a sentence are not encoded.
The results equal those of ``encode_text`` on padded sentences, at a fraction of the computation.
"""

__all__ = ['encode_continuations']

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def encode_continuations(model: Any, prefix: Tensor, rests: Tensor, ends: Tensor) -> Tensor:
    """Encode n sentences that share their first tokens. The result is differentiable.

    Args:
        model: a ``clip.model.CLIP``.
        prefix: (p, width) token embeddings of the shared prefix, including the start token.
        rests: (n, l, width) token embeddings after the prefix; p + l ≤ ``model.context_length``.
        ends: (n,) position of the end token in ``rests``.

    Returns:
        (n, d), not normalized, equal to ``model.encode_text`` of the sentences.
    """
    p, length = len(prefix), rests.shape[1]
    positions = model.positional_embedding
    shared = (prefix + positions[:p]).unsqueeze(0)
    own = rests + positions[p : p + length]
    mask = _causal_mask(p + length, prefix)
    for block in model.transformer.resblocks:
        shared, own = _block(block, shared, own, mask)
    # own.shape[0] here and below, since a trace for ONNX would store len(own) as a constant.
    last = own[torch.arange(own.shape[0], device=own.device), ends]
    return model.ln_final(last) @ model.text_projection


def _causal_mask(length: int, like: Tensor) -> Tensor:
    """Return a (length, length) mask: 0 where a row attends to a column, otherwise −∞."""
    return torch.full((length, length), -math.inf, device=like.device, dtype=like.dtype).triu(1)


def _block(block: Any, shared: Tensor, own: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Apply a residual attention block to (1, p, width) and (n, l, width)."""
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


def _project(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, each (b, heads, t, width / heads)."""
    attn = block.attn
    qkv = functional.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.reshape(*x.shape[:2], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Compute attention: (b, heads, t, width / heads) to (b, t, width)."""
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _finish(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    x = x + block.attn.out_proj(attended)
    return x + block.mlp(block.ln_2(x))
