"""The learned context: initialization and trained parameters."""

import pytest
import torch
from torch.nn import functional

from oadp.clip.weights import load_clip, tokenize
from oadp.prompts.multi_label import MultiLabelPrompts
from oadp.utils.losses import asymmetric_loss

NAMES = ['cat', 'traffic_light', 'hot-air_balloon', 'bow_(weapon)']


def sentences(context='a photo of a'):
    return [f'{context} {n}.' for n in ('cat', 'traffic light', 'hot-air balloon', 'bow (weapon)')]


@pytest.mark.parametrize('context', ['a photo of a', 'there is'])
def test_initial_context_equals_the_handwritten_template(small_clip, context):
    prompts = MultiLabelPrompts(small_clip, NAMES, context=context)
    expected = small_clip.encode_text(tokenize(sentences(context), small_clip.context_length))
    assert torch.allclose(prompts.embed(), functional.normalize(expected, dim=1), atol=1e-5)
    assert prompts.context.shape == (len(context.split()), 64)


def test_initial_context_with_the_recorded_clip(golden):
    model = load_clip(golden / 'world/pretrained/clip/ViT-B-32.pt')
    expected = model.encode_text(tokenize(sentences(), model.context_length))
    embeddings = MultiLabelPrompts(model, NAMES).embed()
    assert torch.allclose(embeddings, functional.normalize(expected, dim=1), atol=1e-5)


def test_logits(small_clip):
    prompts = MultiLabelPrompts(small_clip, NAMES)
    images = functional.normalize(torch.randn(3, 64), dim=1)
    logits = prompts(images)
    cosine = functional.cosine_similarity(images[:, None], prompts.embed()[None], dim=-1)
    assert torch.allclose(logits, 20 * cosine - 4, atol=1e-5)
    assert torch.allclose(prompts(images, slice(1, None, 2)), logits[:, 1::2], atol=1e-5)


def test_only_context_scaler_and_bias_are_trained(small_clip):
    prompts = MultiLabelPrompts(small_clip, NAMES)
    assert prompts.learned_state().keys() == {'context', 'scaler', 'bias'}
    before = {k: v.clone() for k, v in prompts.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in prompts.parameters() if p.requires_grad], lr=0.05)
    images = functional.normalize(torch.randn(8, 64), dim=1)
    loss = asymmetric_loss(prompts(images).sigmoid(), torch.rand(8, 4) > 0.5)
    loss.backward()
    optimizer.step()
    moved = {k for k, v in prompts.state_dict().items() if not v.equal(before[k])}
    assert moved == {'context', 'scaler', 'bias'}
    assert (prompts.context - before['context']).abs().amin(dim=1).min() > 0, 'each token learns'


def test_names_that_are_too_long(small_clip):
    with pytest.raises(
        ValueError, match=r"'a b c d e f g h i j k l m n o p q r s t u v.' \(25 tokens"
    ):
        MultiLabelPrompts(small_clip, ['cat', 'a b c d e f g h i j k l m n o p q r s t u v'])
