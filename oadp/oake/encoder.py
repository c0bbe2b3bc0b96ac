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
        width = block.attn.embed_dim
        self.qkv = nn.Linear(width, 3 * width)
        self.qkv.weight, self.qkv.bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        self.out = block.attn.out_proj
        self.fc1 = _scaled(block.mlp.c_fc, _GELU_SLOPE, _GELU_SLOPE)
        self.fc2 = _scaled(block.mlp.c_proj, 1 / _GELU_SLOPE, 1)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """All tokens: (b, n, c) to (b, n, c); with ``bias`` (b, 1, 1, n − 1) the last is [OBJ]."""
        q, k, v = self._heads(self.qkv(self.norm1(x)), 3)
        if bias is None:
            y = _attend(q, k, v)
        else:
            image = [t[:, :, :-1] for t in (q, k, v)]
            y = torch.cat(
                [
                    _attend(*image),
                    functional.scaled_dot_product_attention(
                        q[:, :, -1:], k[:, :, 1:], v[:, :, 1:], attn_mask=bias
                    ),
                ],
                dim=2,
            )
        return self._rest(x, y)

    def only(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """One token: the class token, or [OBJ] where there is a ``bias``; (b, n, c) to (b, c)."""
        width = x.shape[-1]
        token, seen = (x[:, :1], x) if bias is None else (x[:, -1:], x[:, 1:])
        weight, shift = self.qkv.weight, self.qkv.bias
        q = functional.linear(self.norm1(token), weight[:width], shift[:width])
        kv = functional.linear(self.norm1(seen), weight[width:], shift[width:])
        (q,), (k, v) = self._heads(q, 1), self._heads(kv, 2)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self._rest(token, y)[:, 0]

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(b, n, parts·c) to that many (b, heads, n, c / heads), without a copy."""
        b, n, _ = x.shape
        return x.view(b, n, parts, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _rest(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(functional.silu(self.fc1(self.norm2(x))))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (b, heads, n, d) without a mask.

    In bf16 on a CPU two batched products and a softmax take 14 ms where the fused kernel takes 23
    (16 × 12 heads of 197 tokens, two cores), since only the products use the bf16 instructions.
    """
    if q.device.type != 'cpu' or q.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(q, k, v)
    b, heads, n, d = q.shape
    queries, keys, values = (t.reshape(b * heads, n, d) for t in (q, k, v))
    nothing = queries.new_empty(()).expand(b * heads, n, n)  # beta=0: not read
    scores = torch.baddbmm(nothing, queries, keys.transpose(1, 2), beta=0, alpha=d**-0.5)
    return torch.bmm(scores.softmax(dim=-1), values).view(b, heads, n, d)


def _plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """CLIP's own class casts to float32 and back; torch's accumulates in it anyway."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


def _scaled(linear: nn.Linear, weight: float, bias: float) -> nn.Linear:
    scaled = nn.Linear(linear.in_features, linear.out_features)
    scaled.weight = nn.Parameter(linear.weight * weight, requires_grad=False)
    scaled.bias = nn.Parameter(linear.bias * bias, requires_grad=False)
    return scaled


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
        self.conv = visual.conv1
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
        dtype = self.conv.weight.dtype
        # The statistics stay in float32: rounding them would be rounding every pixel.
        x = ((pixels.float() / 255 - self._mean.float()) / self._std.float()).to(dtype)
        bias = None
        if outside is None:
            x = self.conv(x)
        else:
            padding = (self.patch - 1) // 2
            x = functional.conv2d(x, self.conv.weight, None, self.masked_stride, padding)
            bias = self._bias(outside, dtype)
        x = self._embed(x)
        if bias is not None:
            x = torch.cat([x, x[:, :1]], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, bias)
        x = self.norm_post(last.only(x, bias)) @ self.projection
        return functional.normalize(x.float(), dim=-1)

    def _embed(self, patches: Tensor) -> Tensor:
        """(b, c, rows, columns) patches to (b, 1 + rows·columns, c) with positions, normed."""
        b, c, rows, columns = patches.shape
        tokens = patches.flatten(2).transpose(1, 2)
        class_token = self.class_embedding.expand(b, 1, c).to(tokens.dtype)
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
        bias = torch.zeros(len(outside), 1, 1, outside[0].numel() + 1, dtype=dtype)
        bias = bias.to(outside.device)
        bias[:, 0, 0, :-1].masked_fill_(outside.flatten(1), OUTSIDE)
        return bias
