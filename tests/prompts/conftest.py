"""A small CLIP, of sizes unlike ViT-B/32's, for the tests of the prompts."""

import pytest
import torch

from oadp.clip.weights import import_clip, save_clip_archive


@pytest.fixture(scope='session')
def small_clip():
    torch.manual_seed(0)
    model = import_clip().model.CLIP(
        embed_dim=64,
        image_resolution=48,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=8,
        context_length=24,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=2,
    )
    # Words must differ by more than a little for a context to be learned from.
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='session')
def small_clip_path(small_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp('clip') / 'small.pt'
    save_clip_archive(small_clip, path)
    return path
