import numpy as np
import pytest
import torch
from mmdet.models.utils import build_linear_layer

from oadp.categories import Categories
from oadp.dp.models.classifiers import BaseClassifier, Classifier, ViLDClassifier, load_prompts

CATEGORIES = Categories(bases=('cat', 'dog'), novels=('fox',))


@pytest.fixture
def prompts(tmp_path):
    """The names have another order than the categories, and there is an additional one."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(4, 5, generator=generator)
    path = tmp_path / 'prompts.pth'
    torch.save(
        dict(
            names=['fox', 'owl', 'cat', 'dog'],
            embeddings=embeddings,
            scaler=torch.tensor(18.5),
            bias=torch.tensor(3.75),
        ),
        path,
    )
    return path


def similarities(classifier, x, prompts):
    """Compute the logits independently with NumPy, in double precision."""
    weight, bias = (p.detach().double().numpy() for p in classifier._linear.parameters())
    student = x.double().numpy() @ weight.T + bias
    student /= np.linalg.norm(student, axis=1, keepdims=True)
    matrix = torch.load(prompts)['embeddings'].double().numpy()[[2, 3, 0]]
    if classifier.has_background:
        background = classifier._bg_embedding.detach().double().numpy()
        matrix = np.concatenate([matrix, background / np.linalg.norm(background)])
    return student @ matrix.T


def make(kind, prompts, out_features, **kwargs):
    torch.manual_seed(1)
    return kind(6, out_features, prompts=prompts, categories=CATEGORIES, **kwargs)


@pytest.mark.parametrize('out_features', [3, 4], ids=['categories', 'with background'])
@pytest.mark.parametrize(
    'kind,kwargs,expected',
    [
        (BaseClassifier, {}, lambda s: s),
        (Classifier, {}, lambda s: s * 18.5 - 3.75),
        (ViLDClassifier, {}, lambda s: s / 0.01),
        (ViLDClassifier, dict(scaler=dict(train=1.0, val=0.5)), lambda s: s / 0.5),
    ],
    ids=['plain', 'learned', 'default temperature', 'temperature'],
)
def test_logits_at_inference(prompts, kind, kwargs, expected, out_features):
    classifier = make(kind, prompts, out_features, **kwargs).eval()
    x = torch.randn(7, 6)
    logits = classifier(x)
    assert logits.shape == (7, out_features)
    np.testing.assert_allclose(
        logits.detach().numpy(),
        expected(similarities(classifier, x, prompts)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_novel_categories_are_masked_in_training_only(prompts):
    classifier = make(ViLDClassifier, prompts, 4, scaler=dict(train=0.25, val=0.5))
    x = torch.randn(7, 6)
    logits = classifier(x)
    expected = similarities(classifier, x, prompts) / 0.25
    assert torch.isneginf(logits[:, 2]).all()
    seen = [0, 1, 3]
    np.testing.assert_allclose(logits[:, seen].detach(), expected[:, seen], rtol=1e-4, atol=1e-4)
    logits.log_softmax(1)[:, seen].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters())
    assert torch.isfinite(classifier.eval()(x)).all()


def test_checkpoint_format(prompts):
    keys = {'_linear.weight', '_linear.bias'}
    assert set(make(BaseClassifier, prompts, 3).state_dict()) == keys
    assert set(make(BaseClassifier, prompts, 4).state_dict()) == keys | {'_bg_embedding'}


def test_logits_are_float32_under_autocast(prompts):
    classifier = make(ViLDClassifier, prompts, 4).eval()
    x = torch.randn(7, 6)
    with torch.autocast('cpu', torch.bfloat16):
        student = classifier._linear(x)
        logits = classifier(x)
    assert student.dtype == logits.dtype == torch.float32
    np.testing.assert_allclose(student.detach().norm(dim=1), np.ones(7), rtol=1e-5)
    exact = student @ classifier._embeddings.t() / 0.01
    np.testing.assert_allclose(logits[:, :3].detach(), exact.detach(), rtol=1e-5, atol=1e-4)


def test_mmdet_builds_it_by_name(prompts):
    config = dict(type='ViLDClassifier', prompts=str(prompts), categories=CATEGORIES)
    classifier = build_linear_layer(config, in_features=6, out_features=4)
    assert isinstance(classifier, ViLDClassifier)
    assert classifier.names == ('cat', 'dog', 'fox') and classifier.out_features == 4
    assert classifier.is_base.tolist() == [True, True, False]
    assert classifier.prompts == str(prompts)


def test_other_embeddings(prompts):
    classifier = make(Classifier, prompts, 4).eval()
    x, before = torch.randn(2, 6), classifier._embeddings
    old = classifier(x)
    rows = torch.load(prompts)['embeddings'][[3, 1]]
    classifier.set_embeddings(['dog', 'owl'], rows, torch.tensor([True, False]))
    new = classifier(x)
    assert new.shape == (2, 3) and classifier.out_features == 3
    torch.testing.assert_close(new[:, 0], old[:, 1])  # dog
    torch.testing.assert_close(new[:, -1], old[:, -1])  # background
    assert torch.isneginf(classifier.train()(x)[:, 1]).all()
    assert before is not classifier._embeddings and len(before) == 3  # a view of it is not modified
    with pytest.raises(ValueError, match=r'\(3, 5\).*found \(2, 5\)'):
        classifier.set_embeddings(['a', 'b', 'c'], rows, torch.ones(3, dtype=torch.bool))


def test_invalid_arguments(prompts):
    with pytest.raises(ValueError, match='out_features=5: expected 3.*or 4'):
        make(BaseClassifier, prompts, 5)
    for scaler in (dict(train=1.0), dict(train=1.0, val=0.0)):
        with pytest.raises(ValueError, match='positive temperatures'):
            make(ViLDClassifier, prompts, 4, scaler=scaler)


@pytest.mark.parametrize(
    'content,match',
    [
        (dict(names=['cat', 'owl'], embeddings=torch.ones(2, 4)), r"2 of 3 .*\['dog', 'fox'\]"),
        (dict(names=['cat'], embeddings=torch.ones(2, 4)), r'each of 1 names.*\(2, 4\)'),
        (dict(names=['cat']), r"\"embeddings\", found \['names'\]"),
        (torch.ones(2, 4), 'found Tensor'),
    ],
    ids=['names missing', 'counts differ', 'key missing', 'a tensor'],
)
def test_invalid_prompt_files(tmp_path, content, match):
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match=match):
        load_prompts(tmp_path / 'bad.pth', CATEGORIES.all_)


def test_missing_prompt_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth.*section "Prompts" of the README'):
        load_prompts(tmp_path / 'none.pth', CATEGORIES.all_)


def test_learned_classifier_needs_scaler_and_bias(tmp_path):
    path = tmp_path / 'plain.pth'
    torch.save(dict(names=list(CATEGORIES.all_), embeddings=torch.ones(3, 4)), path)
    with pytest.raises(ValueError, match='plain.pth.*"scaler" and "bias"'):
        make(Classifier, path, 4)
