"""The encoder equals CLIP's, and [OBJ] equals a separate branch."""

import pytest
import torch
from oake_dataset import make_clip
from torch.nn import functional

from oadp.clip.normalization import MEAN, STD
from oadp.oake.encoder import OUTSIDE, ImageEncoder

SIZES = [(40, 8), (48, 8), (32, 16), (42, 14)]  # resolution, patch


def normalize(pixels):
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (pixels / 255 - mean) / std


def random_pixels(n, size_hw):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, *size_hw), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(('resolution', 'patch'), SIZES)
def test_equals_clip_at_the_default_resolution(resolution, patch):
    clip = make_clip(resolution, patch)
    pixels = random_pixels(3, (resolution, resolution))
    expected = functional.normalize(clip.encode_image(normalize(pixels)), dim=1)
    result = ImageEncoder(clip.visual)(pixels)
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)


def positions(visual, rows, columns):
    p = visual.positional_embedding
    side = round((len(p) - 1) ** 0.5)
    grid = p[1:].T.reshape(1, -1, side, side)
    grid = functional.interpolate(grid, (rows, columns), mode='bilinear', align_corners=False)
    return torch.cat([p[:1], grid.flatten(2)[0].T])


def tokens(visual, x):
    x = x.flatten(2).permute(2, 0, 1)
    x = torch.cat([visual.class_embedding.expand(1, x.shape[1], -1), x])
    return x


@pytest.mark.parametrize(('resolution', 'patch'), SIZES)
@pytest.mark.parametrize('shape', [(3, 5), (7, 2)])
def test_images_of_other_sizes(resolution, patch, shape):
    clip = make_clip(resolution, patch)
    visual = clip.visual
    # A part of a patch at the end is not seen.
    pixels = random_pixels(2, (shape[0] * patch + 3, shape[1] * patch + 5))
    x = tokens(visual, visual.conv1(normalize(pixels))) + positions(visual, *shape)[:, None]
    x = visual.transformer(visual.ln_pre(x))
    expected = functional.normalize(visual.ln_post(x[0]) @ visual.proj, dim=1)
    torch.testing.assert_close(ImageEncoder(visual)(pixels), expected, atol=2e-6, rtol=0)


def masked_by_branch(visual, pixels, outside):
    """Compute [OBJ] in a separate branch next to CLIP's transformer, one image at a time."""
    patch = visual.conv1.kernel_size[0]
    x = functional.conv2d(
        normalize(pixels), visual.conv1.weight, stride=patch // 2, padding=(patch - 1) // 2
    )
    x = visual.ln_pre(tokens(visual, x) + positions(visual, *x.shape[2:])[:, None])
    results = []
    for i in range(len(pixels)):
        y, obj = x[:, i : i + 1], x[:1, i : i + 1]
        for block in visual.transformer.resblocks:
            seen = torch.cat([y[1:], obj])
            bias = torch.zeros(1, len(seen))
            bias[0, :-1] = outside[i].flatten() * OUTSIDE
            q, kv = block.ln_1(obj), block.ln_1(seen)
            obj = obj + block.attn(q, kv, kv, need_weights=False, attn_mask=bias)[0]
            obj = obj + block.mlp(block.ln_2(obj))
            y = block(y)
        results.append(visual.ln_post(obj[0]) @ visual.proj)
    return functional.normalize(torch.cat(results), dim=1)


@pytest.mark.parametrize(('resolution', 'patch'), SIZES)
def test_masked_equals_a_separate_branch(resolution, patch):
    visual = make_clip(resolution, patch).visual
    pixels = random_pixels(4, (resolution, resolution))
    grid = ImageEncoder(visual).masked_grid
    outside = torch.rand(4, grid, grid, generator=torch.Generator().manual_seed(2)) < 0.7
    outside[1], outside[2] = True, False
    expected = masked_by_branch(visual, pixels, outside)
    result = ImageEncoder(visual)(pixels, outside)
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)


def test_masked_grid_of_vit_b_32():
    assert ImageEncoder(make_clip(224, 32).visual).masked_grid == 14


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_close(dtype):
    visual = make_clip().visual
    pixels = random_pixels(8, (40, 40))
    outside = torch.rand(8, 10, 10, generator=torch.Generator().manual_seed(2)) < 0.7
    assert ImageEncoder(visual).masked_grid == 10
    full = ImageEncoder(visual)(pixels, outside)
    half = ImageEncoder(visual).to(dtype)(pixels, outside)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(full, half).min() > 0.999


def test_a_resnet_is_an_error():
    with pytest.raises(ValueError, match='vision transformer'):
        ImageEncoder(torch.nn.Conv2d(3, 3, 3))
