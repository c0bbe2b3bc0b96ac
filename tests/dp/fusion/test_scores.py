"""The fused scores are compared with the formula, computed in float64."""

import dataclasses
import json

import pytest
import torch

from oadp.dp.fusion.scores import RANGES, FusionParameters, fuse_scores

IS_BASE = torch.tensor([True] * 4 + [False] * 3)
INF = float('inf')


def some_logits(n: int = 50, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of two heads; the background of the object head is −∞, as in the detector."""
    generator = torch.Generator().manual_seed(seed)
    bbox_logits, object_logits = 4 * torch.randn(2, n, len(IS_BASE) + 1, generator=generator)
    object_logits[:, -1] = -INF
    return bbox_logits, object_logits


def by_the_book(bbox_logits, object_logits, p, objectness=None):
    """Compute the formula class by class, in float64."""
    scores = []
    x, y = bbox_logits.double().clone(), object_logits.double().clone()
    for i, base in enumerate(IS_BASE.tolist()):
        x[:, i] *= p.bbox_base_scaler if base else p.bbox_novel_scaler
        y[:, i] *= p.object_base_scaler if base else p.object_novel_scaler
    x, y = x.softmax(1), y.softmax(1)
    for i, base in enumerate(IS_BASE.tolist()):
        a, b = (
            (p.bbox_base_gamma, p.object_base_gamma)
            if base
            else (p.bbox_novel_gamma, p.object_novel_gamma)
        )
        scores.append(x[:, i] ** a * y[:, i] ** b)
    scores = torch.stack(scores, 1)
    if objectness is not None:
        scores *= objectness.double()[:, None] ** p.objectness_gamma
    return scores, 1 - scores.sum(1)


def test_default_parameters_are_those_of_the_paper():
    bbox_logits, object_logits = some_logits()
    p, q = bbox_logits.double().softmax(1), object_logits.double().softmax(1)
    expected = torch.where(IS_BASE, p[:, :-1] ** (2 / 3) * q[:, :-1] ** (1 / 3), 0)
    expected += torch.where(IS_BASE, 0, p[:, :-1] ** (1 / 3) * q[:, :-1] ** (2 / 3))

    scores = fuse_scores(bbox_logits, object_logits, IS_BASE)

    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores[:, :-1].double(), expected, rtol=1e-5, atol=1e-7)
    background = (1 - expected.sum(1)).clamp(min=0)
    torch.testing.assert_close(scores[:, -1].double(), background, rtol=0, atol=1e-6)


def test_parameters_follow_the_formula():
    bbox_logits, object_logits = some_logits(seed=1)
    objectness = torch.rand(len(bbox_logits), generator=torch.Generator().manual_seed(2))
    parameters = FusionParameters(0.3, 1.4, 0.7, 1.1, 0.25, 0.8, 0.45, 0.65, 0.9)
    expected, _ = by_the_book(bbox_logits, object_logits, parameters, objectness)
    scores = fuse_scores(bbox_logits, object_logits, IS_BASE, parameters, objectness)
    torch.testing.assert_close(scores[:, :-1].double(), expected, rtol=1e-5, atol=1e-7)


def test_background_never_falls_below_zero():
    # The box head prefers the base class by 2 to 1, the object head the novel class: the scores of
    # both classes are (2/3)^(2/3) (1/3)^(1/3) = 0.529.
    bbox_logits = torch.full((1, len(IS_BASE) + 1), -30.0)
    object_logits = bbox_logits.clone()
    bbox_logits[0, [0, 4]] = torch.tensor([2.0, 1.0]).log()
    object_logits[0, [0, 4]] = torch.tensor([1.0, 2.0]).log()
    classes, background = by_the_book(bbox_logits, object_logits, FusionParameters())
    assert background.item() < -0.05, 'the case must be one where the classes sum to more than 1'
    scores = fuse_scores(bbox_logits, object_logits, IS_BASE)
    assert scores[0, -1] == 0
    torch.testing.assert_close(scores[:, :-1].double(), classes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', sorted(RANGES))
def test_every_parameter_has_an_effect(name):
    bbox_logits, object_logits = some_logits(seed=3)
    objectness = torch.linspace(0, 1, len(bbox_logits))
    changed = dataclasses.replace(FusionParameters(), **{name: RANGES[name][1]})
    before = fuse_scores(bbox_logits, object_logits, IS_BASE, objectness=objectness)
    after = fuse_scores(bbox_logits, object_logits, IS_BASE, changed, objectness)
    assert not torch.allclose(before, after, atol=1e-3)
    assert after.isfinite().all()


@pytest.mark.parametrize('head', [0, 1])
def test_zero_exponent_ignores_a_head_with_infinite_logits(head):
    logits = some_logits(seed=4)
    logits[head][:, 5] = -INF
    names = ('bbox', 'object')
    out, kept = names[head], names[1 - head]
    parameters = FusionParameters.from_mapping(
        {f'{out}_{k}_gamma': 0 for k in ('base', 'novel')}
        | {f'{kept}_{k}_gamma': 1 for k in ('base', 'novel')}
    )
    scores = fuse_scores(*logits, IS_BASE, parameters)
    torch.testing.assert_close(scores[:, :-1], logits[1 - head].softmax(1)[:, :-1])


def test_half_precision_and_no_rois():
    bbox_logits, object_logits = some_logits()
    half = fuse_scores(bbox_logits.half(), object_logits.half(), IS_BASE)
    assert half.dtype == torch.float32
    torch.testing.assert_close(
        half, fuse_scores(bbox_logits, object_logits, IS_BASE), rtol=0.02, atol=1e-3
    )
    assert fuse_scores(bbox_logits[:0], object_logits[:0], IS_BASE).shape == (0, 8)


def test_errors():
    bbox_logits, object_logits = some_logits()
    with pytest.raises(ValueError, match=r'\(n, 8\).*\(50, 7\)'):
        fuse_scores(bbox_logits[:, 1:], object_logits, IS_BASE)
    parameters = FusionParameters(objectness_gamma=0.5)
    with pytest.raises(ValueError, match='objectness of 50 RoIs.*None'):
        fuse_scores(bbox_logits, object_logits, IS_BASE, parameters)
    with pytest.raises(ValueError, match="unknown.*'gamma'"):
        FusionParameters.from_mapping(dict(gamma=1))
    with pytest.raises(ValueError, match="bbox_base_gamma is nan.*objectness_gamma is '1'"):
        FusionParameters(bbox_base_gamma=float('nan'), objectness_gamma='1')


def test_json_forms(tmp_path):
    parameters = FusionParameters(objectness_gamma=0.25)
    plain, nested = tmp_path / 'plain.json', tmp_path / 'best.json'
    plain.write_text(json.dumps(parameters.to_dict()))
    nested.write_text(json.dumps(dict(value=31.3, parameters=dict(objectness_gamma=0.25))))
    for text in (str(plain), str(nested), '{"objectness_gamma": 0.25}'):
        assert FusionParameters.from_text(text) == parameters
    plain.write_text('{')
    with pytest.raises(ValueError, match='plain.json'):
        FusionParameters.from_file(plain)
    with pytest.raises(FileNotFoundError, match='nni_dp_test'):
        FusionParameters.from_text('no.json')


def test_ranges_name_every_parameter():
    defaults = FusionParameters().to_dict()
    assert [*RANGES] == [*defaults]
    assert all(low <= defaults[name] <= high for name, (low, high) in RANGES.items())
