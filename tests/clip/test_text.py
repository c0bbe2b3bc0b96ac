"""Sentences with a shared prefix equal CLIP's text encoder on padded sentences."""

import torch

from oadp.clip.text import encode_continuations
from oadp.clip.weights import load_clip, tokenize

TEXTS = [
    'a photo of a cat.',
    'a photo of a big red dog',
    'a photo of a hot-air balloon (in the sky).',
]


def split(model, texts, shared):
    tokens = tokenize(texts, model.context_length)
    assert (tokens[:, :shared] == tokens[0, :shared]).all()
    ends = tokens.argmax(dim=1)
    embeddings = model.token_embedding(tokens[:, : int(ends.max()) + 1])
    return tokens, embeddings[0, :shared], embeddings[:, shared:], ends - shared


def test_equals_encode_text(small_clip):
    tokens, prefix, rests, ends = split(small_clip, TEXTS, 5)
    mine = encode_continuations(small_clip, prefix, rests, ends)
    assert torch.allclose(mine, small_clip.encode_text(tokens), atol=1e-5)


def test_equals_encode_text_with_several_heads_and_layers(golden):
    model = load_clip(golden / 'world/pretrained/clip/ViT-B-32.pt')
    tokens, prefix, rests, ends = split(model, TEXTS, 3)
    mine = encode_continuations(model, prefix, rests, ends)
    assert torch.allclose(mine, model.encode_text(tokens), atol=1e-5)


def test_gradient_equals_that_of_the_padded_computation(small_clip):
    tokens, prefix, rests, ends = split(small_clip, TEXTS, 5)
    prefix = prefix.clone().requires_grad_()
    weights = torch.linspace(-1, 1, 64)
    (encode_continuations(small_clip, prefix, rests, ends) @ weights).sum().backward()

    padded = small_clip.token_embedding(tokens)
    other = prefix.detach().clone().requires_grad_()
    x = torch.cat([other.expand(len(TEXTS), -1, -1), padded[:, 5:]], dim=1)
    x = small_clip.transformer((x + small_clip.positional_embedding).transpose(0, 1))
    x = small_clip.ln_final(x.transpose(0, 1))[torch.arange(3), ends + 5]
    (x @ small_clip.text_projection @ weights).sum().backward()
    assert torch.allclose(prefix.grad, other.grad, atol=1e-4, rtol=1e-4)
    assert prefix.grad.abs().max() > 0.01
