"""The optimisers of the benchmark's CLIP."""

import pytest
import torch

from oadp.clip.weights import tokenize
from oadp.mini.optimizer import TeacherOptimizer
from oadp.mini.settings import TeacherSettings
from oadp.mini.teacher import build_clip

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


def test_torch_without_muon_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, 'Muon')
    with pytest.raises(RuntimeError, match=r'torch 2\.9 or later'):
        TeacherOptimizer(build_clip(SETTINGS), SETTINGS)
