"""CLIP's image encoder, for images of any size and for parts of an image.

The weights are CLIP's. The computation is arranged differently: the batch is the first dimension, the
last block computes only the token that the result depends on, and a part of an image is one sequence
[class, patches, OBJ]. [OBJ] attends to the patches inside its box and to itself, and no other token
attends to [OBJ]. So the class token and the patches need no mask, and the mask is one row per image.
"""

__all__ = ['ImageEncoder', 'OUTSIDE']

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp.clip.normalization import MEAN, STD
from oadp.clip.positions import resize_positions
from oadp.oake.attention import attend

OUTSIDE = -100.0
"""Added to the scores of patches outside the box before the softmax (paper, section on OAKE)."""

_GELU_SLOPE = 1.702  # QuickGELU(x) = x·sigmoid(1.702·x)


class _Block(nn.Module):
    """A transformer block with CLIP's weights, which can compute a single token.

    QuickGELU(x) is SiLU(1.702·x) / 1.702. It becomes one fused operation because the factors are part of
    the weights of the layers before and after it.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.num_heads: int = block.attn.num_heads
        self.norm1, self.norm2 = _plain_norm(block.ln_1), _plain_norm(block.ln_2)
        self.qkv = _linear(block.attn.in_proj_weight, block.attn.in_proj_bias)
        self.out = _linear(block.attn.out_proj.weight, block.attn.out_proj.bias)
        up, down = block.mlp.c_fc, block.mlp.c_proj
        self.fc1 = _linear(up.weight * _GELU_SLOPE, up.bias * _GELU_SLOPE)
        self.fc2 = _linear(down.weight / _GELU_SLOPE, down.bias)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Compute all tokens.

        Args:
            x: (b, n, c) tokens.
            bias: (b, 1, 1, n − 1) if the last token is [OBJ], see ``attend``.

        Returns:
            (b, n, c).
        """
        b, n, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self._rest(x, attend(q, k, v, bias))

    def only(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Compute one token: [OBJ] if there is a ``bias``, otherwise the class token.

        A single query does not need the keys and values of all tokens. The key projection is applied to
        the query instead, and the value projection to the weighted mean of the tokens. The bias of
        the keys adds the same number to all scores, so it has no effect.

        Args:
            x: (b, n, c) tokens.
            bias: as in ``forward``.

        Returns:
            (b, c).
        """
        token, seen = (x[:, :1], x) if bias is None else (x[:, -1:], x[:, 1:])
        heads, width = self.num_heads, x.shape[-1]
        weights = self.qkv.weight.view(3, heads, -1, width)
        shifts = self.qkv.bias.view(3, heads, -1)
        token_in, seen_in = self.norm1(token)[:, 0], self.norm1(seen)
        query = torch.einsum('bc,hdc->bhd', token_in, weights[0]) + shifts[0]
        query = torch.einsum('bhd,hdc->bhc', query * query.shape[-1] ** -0.5, weights[1])
        scores = query @ seen_in.transpose(1, 2)
        if bias is not None:
            scores = scores + bias[:, 0]
        mean = scores.softmax(dim=-1) @ seen_in
        y = torch.einsum('bhc,hdc->bhd', mean, weights[2]) + shifts[2]
        return self._rest(token, y.flatten(1)[:, None])[:, 0]

    def _rest(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended)
        return x + self.fc2(functional.silu(self.fc1(self.norm2(x))))


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a linear layer that holds an (out, in) weight and an (out,) bias."""
    out_features, in_features = weight.shape
    layer = nn.Linear(in_features, out_features, bias=bias is not None, device='meta')
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _plain_norm(norm: Any) -> nn.LayerNorm:
    """Return torch's layer with the weights of CLIP's.

    CLIP's class casts to float32 and back; torch's accumulates in float32 in any case.
    """
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


class ImageEncoder(nn.Module):
    """Encode images, or parts of images, with CLIP's vision transformer.

    Args:
        visual: ``clip.model.VisionTransformer`` of any size. The encoder shares its parameters, so
            nothing else may use the model.

    Attributes:
        resolution: side of the default input in pixels.
        patch: side of a patch in pixels.
        dim: size of an embedding.

    Raises:
        ValueError: not a vision transformer.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, visual: Any) -> None:
        super().__init__()
        if not hasattr(visual, 'conv1') or not hasattr(visual, 'class_embedding'):
            raise ValueError(
                f'expected a CLIP with a vision transformer, found {type(visual).__name__}; use a '
                'ViT variant, since OAKE masks patches, which the ResNet variants do not have'
            )
        self.resolution: int = visual.input_resolution
        self.patch: int = visual.conv1.kernel_size[0]
        self.dim: int = visual.output_dim
        self.patches = _linear(visual.conv1.weight.flatten(1))
        self.class_embedding = visual.class_embedding
        self.positional_embedding: Tensor = visual.positional_embedding
        self.norm_pre, self.norm_post = _plain_norm(visual.ln_pre), _plain_norm(visual.ln_post)
        self.projection = visual.proj
        self.blocks = nn.ModuleList(_Block(b) for b in visual.transformer.resblocks)
        self._positions: tuple[tuple, Tensor] | None = None
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        self.register_buffer('_mean', mean.view(3, 1, 1), persistent=False)
        self.register_buffer('_std', std.view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @property
    def masked_stride(self) -> int:
        """Pixels between patches for parts of an image: twice the density of CLIP's patches."""
        return self.patch // 2

    @property
    def masked_grid(self) -> int:
        """Number of patches along a side for parts of an image."""
        padding = (self.patch - 1) // 2
        return (self.resolution + 2 * padding - self.patch) // self.masked_stride + 1

    def num_tokens(self, size_hw: tuple[int, int], masked: bool = False) -> int:
        """Return the sequence length of an input of a height and width in pixels."""
        if masked:
            return self.masked_grid**2 + 2
        return (size_hw[0] // self.patch) * (size_hw[1] // self.patch) + 1

    @torch.inference_mode()
    def forward(self, pixels: Tensor, outside: Tensor | None = None) -> Tensor:
        """Embed images, or parts of images.

        Args:
            pixels: (b, 3, h, w) uint8 RGB; h = w = ``resolution`` if ``outside`` is given.
            outside: (b, masked_grid, masked_grid) bool, True for patches that are outside the part;
                None for whole images, for which the positions are resized to their grid.

        Returns:
            (b, dim) float32, of unit length.
        """
        dtype = self.patches.weight.dtype
        # The statistics stay in float32: rounding them would round every pixel.
        x = pixels.to(torch.float32, copy=True)
        x = x.div_(255).sub_(self._mean.float()).div_(self._std.float()).to(dtype)
        if outside is None:
            x, bias = self._embed(x, self.patch), None
        else:
            x = functional.pad(x, [(self.patch - 1) // 2] * 4)
            x, bias = self._embed(x, self.masked_stride), self._bias(outside, dtype)
            x = torch.cat([x, x[:, :1]], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, bias)
        x = self.norm_post(last.only(x, bias)) @ self.projection
        return functional.normalize(x.float(), dim=-1)

    def _embed(self, x: Tensor, stride: int) -> Tensor:
        """Compute the normalized class token and patches with positions.

        A matrix product over unfolded patches takes half the time of CLIP's convolution (bf16 on a
        CPU, 16 crops of overlapping patches).

        Args:
            x: (b, 3, h, w) normalized pixels.
            stride: pixels between patches.

        Returns:
            (b, 1 + patches, c).
        """
        x = x.unfold(2, self.patch, stride).unfold(3, self.patch, stride)
        b, _, rows, columns, *_ = x.shape
        tokens = self.patches(x.permute(0, 2, 3, 1, 4, 5).reshape(b, rows * columns, -1))
        class_token = self.class_embedding.expand(b, 1, -1).to(tokens.dtype)
        x = torch.cat([class_token, tokens], dim=1)
        return self.norm_pre(x + self._resized_positions(rows, columns))

    def _resized_positions(self, rows: int, columns: int) -> Tensor:
        """Return the positions of a grid; those of the last grid are cached, since images are sorted by it."""
        positions = self.positional_embedding
        key = (rows, columns, positions.dtype, positions.device)
        if self._positions is None or self._positions[0] != key:
            self._positions = key, resize_positions(positions, rows, columns)
        return self._positions[1]

    def _bias(self, outside: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the bias of [OBJ]'s scores: (b, 1, 1, patches + 1), the last one for [OBJ] itself."""
        bias = outside.new_zeros(len(outside), 1, 1, outside[0].numel() + 1, dtype=dtype)
        bias[:, 0, 0, :-1].masked_fill_(outside.flatten(1), OUTSIDE)
        return bias
