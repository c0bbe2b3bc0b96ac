"""CLIP's image encoder, for images of any size and for parts of an image.

The weights are CLIP's; the computation is arranged anew: batch first, only what the result depends
on in the last block, and one sequence [class, patches, OBJ] where a part is asked for. [OBJ] sees the
patches inside its box and itself; nothing sees [OBJ]. So the first two attend among themselves
without any mask, and the mask is one row an image.
"""

__all__ = ['ImageEncoder', 'OUTSIDE']

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp.oake.attention import attend

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel statistics, RGB in [0, 1] (clip.load's transform)."""

OUTSIDE = -100.0
"""Added before the softmax to patches outside the box (paper, section on OAKE)."""

_GELU_SLOPE = 1.702  # QuickGELU(x) = x·sigmoid(1.702·x)


class _Block(nn.Module):
    """A transformer block with CLIP's weights, of which a few tokens can be asked for alone.

    QuickGELU(x) is SiLU(1.702·x) / 1.702, one fused operation once the factors are in the weights
    of the layers around it.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.num_heads = block.attn.num_heads
        self.norm1, self.norm2 = _plain_norm(block.ln_1), _plain_norm(block.ln_2)
        self.qkv = _linear(block.attn.in_proj_weight, block.attn.in_proj_bias)
        self.out = _linear(block.attn.out_proj.weight, block.attn.out_proj.bias)
        up, down = block.mlp.c_fc, block.mlp.c_proj
        self.fc1 = _linear(up.weight * _GELU_SLOPE, up.bias * _GELU_SLOPE)
        self.fc2 = _linear(down.weight / _GELU_SLOPE, down.bias)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """All tokens: (b, n, c) to (b, n, c); with ``bias`` (b, 1, 1, n − 1) the last is [OBJ]."""
        b, n, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.num_heads, -1)
        return self._rest(x, attend(*qkv.permute(2, 0, 3, 1, 4), bias))

    def only(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """One token: the class token, or [OBJ] where there is a ``bias``; (b, n, c) to (b, c).

        A single query needs no keys and values: instead of all tokens to their keys, the query is
        projected to where the tokens are, and instead of their values the mean of the tokens. The
        keys' bias adds the same to all scores, so it does not matter.
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


def _plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """CLIP's own class casts to float32 and back; torch's accumulates in it anyway."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


class ImageEncoder(nn.Module):
    """CLIP's vision transformer, as OAKE uses it.

    Args:
        visual: ``clip.model.VisionTransformer``, of any sizes. Its parameters are taken over: use a
            model that nothing else uses.

    Attributes:
        resolution: side of the input in pixels, by default of which the grid follows.
        patch: side of a patch in pixels.
        dim: size of an embedding.
        masked_grid: patches along a side where a part is asked for, at twice the density.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        if not hasattr(visual, 'conv1') or not hasattr(visual, 'class_embedding'):
            raise ValueError(
                f'expected a CLIP with a vision transformer, found {type(visual).__name__}: '
                'the ResNet variants have no patches to mask'
            )
        self.resolution: int = visual.input_resolution
        self.patch: int = visual.conv1.kernel_size[0]
        self.dim: int = visual.output_dim
        self.patches = _linear(visual.conv1.weight.flatten(1))
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
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
        return self.patch // 2

    @property
    def masked_grid(self) -> int:
        padding = (self.patch - 1) // 2
        return (self.resolution + 2 * padding - self.patch) // self.masked_stride + 1

    def num_tokens(self, size_hw: tuple[int, int], masked: bool = False) -> int:
        """Length of the sequence that an input makes."""
        if masked:
            return self.masked_grid**2 + 2
        return (size_hw[0] // self.patch) * (size_hw[1] // self.patch) + 1

    @torch.inference_mode()
    def forward(self, pixels: Tensor, outside: Tensor | None = None) -> Tensor:
        """Embed images, or parts of them.

        Args:
            pixels: (b, 3, h, w) uint8 RGB; of the input resolution where ``outside`` is given.
            outside: (b, masked_grid, masked_grid) bool, the patches that are not of the part; None
                for the whole image, whose positions are resized to its own grid.

        Returns:
            (b, dim) float32, of unit length.
        """
        dtype = self.patches.weight.dtype
        # The statistics stay in float32: rounding them would be rounding every pixel.
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
        """(b, 3, h, w) pixels to (b, 1 + patches, c): the class token and patches, with positions, normed.

        A product over patches that are laid out before takes half the time of CLIP's convolution
        (bf16 on a CPU, 16 crops of overlapping patches).
        """
        x = x.unfold(2, self.patch, stride).unfold(3, self.patch, stride)
        b, _, rows, columns, *_ = x.shape
        tokens = self.patches(x.permute(0, 2, 3, 1, 4, 5).reshape(b, rows * columns, -1))
        class_token = self.class_embedding.expand(b, 1, -1).to(tokens.dtype)
        x = torch.cat([class_token, tokens], dim=1)
        return self.norm_pre(x + self._resized_positions(rows, columns))

    def _resized_positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid; the last grid's are kept, since images come sorted by it."""
        positions = self.positional_embedding
        key = (rows, columns, positions.dtype, positions.device)
        if self._positions is None or self._positions[0] != key:
            side = round((len(positions) - 1) ** 0.5)
            if (rows, columns) != (side, side):
                grid = positions[1:].float().T.reshape(1, -1, side, side)
                grid = functional.interpolate(
                    grid, (rows, columns), mode='bilinear', align_corners=False
                )
                resized = grid.flatten(2)[0].T.to(positions.dtype)
                positions = torch.cat([positions[:1], resized])
            self._positions = key, positions
        return self._positions[1]

    def _bias(self, outside: Tensor, dtype: torch.dtype) -> Tensor:
        """What is added to [OBJ]'s attention: (b, 1, 1, patches + 1), the last one [OBJ] itself."""
        bias = outside.new_zeros(len(outside), 1, 1, outside[0].numel() + 1, dtype=dtype)
        bias[:, 0, 0, :-1].masked_fill_(outside.flatten(1), OUTSIDE)
        return bias
