"""How the benchmark's CLIP is updated."""

import pytest
import torch

from oadp.clip_model import tokenize
from oadp.mini.optimizer import TeacherOptimizer
from oadp.mini.settings import Teacher
from oadp.mini.teacher import build_clip

SPEC = Teacher(warmup=1, iterations=3)


def test_a_step_moves_all_but_the_words_that_it_does_not_use() -> None:
    torch.manual_seed(0)
    model = build_clip(SPEC)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = TeacherOptimizer(model, SPEC)
    tokens = tokenize(['a star'], SPEC.context_length)
    pixels = torch.randn(2, 3, SPEC.resolution, SPEC.resolution)
    logits, _ = model(pixels, tokens)
    optimizer.step(logits.square().sum())
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert not still
    moved = (model.token_embedding.weight != before['token_embedding.weight']).any(dim=1)
    assert set(moved.nonzero()[:, 0].tolist()) <= set(tokens.unique().tolist())
    assert moved.sum() >= 3


def test_the_rate_rises_and_falls_to_nothing() -> None:
    spec = Teacher(warmup=2, iterations=12)
    optimizer = TeacherOptimizer(build_clip(spec), spec)
    rates = []
    for _ in range(12):
        rates.append([o.param_groups[0]['lr'] for o in optimizer._optimizers])
        optimizer.step(sum(p.sum() for p in optimizer._others))
    adam, muon, words = zip(*rates, strict=True)
    assert adam == words and adam[0] == pytest.approx(spec.lr / 2)
    assert max(adam) == spec.lr and max(muon) == spec.matrix_lr
    assert adam[-1] < 0.05 * spec.lr
    assert [a / spec.lr for a in adam] == pytest.approx([m / spec.matrix_lr for m in muon])


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, 'Muon')
    with pytest.raises(RuntimeError, match=r'torch 2\.9 or later'):
        TeacherOptimizer(build_clip(SPEC), SPEC)
