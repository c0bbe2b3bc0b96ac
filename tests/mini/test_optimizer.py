"""The optimizers of the benchmark's CLIP."""

import pytest
import torch
from torch import nn

from oadp.clip.weights import tokenize
from oadp.mini.clip_model import build_clip
from oadp.mini.optimizer import Muon, TeacherOptimizer, orthogonalize
from oadp.mini.settings import TeacherSettings

SETTINGS = TeacherSettings(warmup=1, iterations=3)


def test_a_step_updates_all_weights_except_unused_tokens() -> None:
    torch.manual_seed(0)
    model = build_clip(SETTINGS)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = TeacherOptimizer(model, SETTINGS)
    tokens = tokenize(['a star'], SETTINGS.context_length)
    pixels = torch.randn(2, 3, SETTINGS.resolution, SETTINGS.resolution)
    logits, _ = model(pixels, tokens)
    optimizer.step(logits.square().sum())
    unchanged = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert not unchanged
    updated = (model.token_embedding.weight != before['token_embedding.weight']).any(dim=1)
    assert set(updated.nonzero()[:, 0].tolist()) <= set(tokens.unique().tolist())
    assert updated.sum() >= 3


def test_learning_rates_rise_and_decay() -> None:
    settings = TeacherSettings(warmup=2, iterations=12)
    optimizer = TeacherOptimizer(build_clip(settings), settings)
    rates = []
    for _ in range(12):
        rates.append([o.param_groups[0]['lr'] for o in optimizer._optimizers])
        optimizer.step(sum(p.sum() for p in optimizer._others))
    adam, muon, tokens = zip(*rates, strict=True)
    assert adam == tokens and adam[0] == pytest.approx(settings.lr / 2)
    assert max(adam) == settings.lr and max(muon) == settings.matrix_lr
    assert adam[-1] < 0.05 * settings.lr
    assert [a / settings.lr for a in adam] == pytest.approx([m / settings.matrix_lr for m in muon])


@pytest.mark.parametrize('shape', [(3, 8, 5), (3, 5, 8), (1, 6, 6)])
def test_orthogonalized_matrices_keep_their_singular_vectors(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    found = u.transpose(1, 2) @ orthogonalize(matrices, iterations=8) @ v.transpose(1, 2)
    values = found.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(found, torch.diag_embed(values), atol=1e-3, rtol=0)
    assert 0.6 < values.min() and values.max() < 1.3


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='this torch has no Muon')
def test_muon_agrees_with_torch_up_to_its_bfloat16() -> None:
    updated = []
    for create in (
        lambda p: Muon(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.Muon(p, lr=0.1, momentum=0.9, weight_decay=0.1, ns_steps=4),
    ):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape)) for shape in ((12, 4), (4, 12), (6, 6))]
        before = [p.detach().clone() for p in parameters]
        optimizer = create(parameters)
        for _ in range(3):
            for p in parameters:
                p.grad = torch.randn(p.shape)
            optimizer.step()
        updated.append([p.detach() - b for p, b in zip(parameters, before, strict=True)])
    for ours, theirs in zip(*updated, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0.05)
