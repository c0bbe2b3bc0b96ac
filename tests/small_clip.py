"""A CLIP with random weights and other sizes than ViT-B/32, for the tests of texts and prompts."""

import torch
from torch import nn

from oadp.clip.weights import import_clip


def make_small_clip() -> nn.Module:
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
    # A context can be learned only if the embeddings of words differ enough.
    nn.init.normal_(model.token_embedding.weight, std=0.5)
    return model.eval().requires_grad_(False)
