import pytest
import torch

from oadp.categories import Categories
from oadp.dp.models.fill_categories import bind_categories

CATEGORIES = Categories(bases=('cat', 'dog'), novels=('fox',))


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / 'prompts.pth'
    torch.save(dict(names=['cat', 'dog', 'fox'], embeddings=torch.eye(3)), path)
    return str(path)


def test_missing_values_are_filled_in(prompts):
    config = dict(
        bbox_head=dict(
            num_classes=None, cls_predictor_cfg=dict(type='ViLDClassifier', prompts=prompts)
        ),
        mask_head=dict(num_classes=3),
        classifier=dict(type='BaseClassifier', prompts=prompts, out_features=None),
        other=dict(type='Linear'),
    )
    bound = bind_categories(config, CATEGORIES)
    assert bound.bbox_head.num_classes == bound.mask_head.num_classes == 3
    assert bound.bbox_head.cls_predictor_cfg.categories is CATEGORIES
    assert bound.classifier.out_features == 3 and bound.classifier.categories is CATEGORIES
    assert bound.other == dict(type='Linear')
    assert config['bbox_head']['num_classes'] is None
    assert 'categories' not in config['bbox_head']['cls_predictor_cfg']


def test_all_errors_are_listed(tmp_path, prompts):
    torch.save(dict(names=['cat'], embeddings=torch.ones(1, 3)), tmp_path / 'few.pth')
    config = dict(
        bbox_head=dict(
            num_classes=80,
            cls_predictor_cfg=dict(type='ViLDClassifier', prompts=str(tmp_path / 'few.pth')),
        ),
        object_head=dict(cls_predictor_cfg=dict(type='Classifier', prompts='none.pth')),
        block_head=dict(cls_predictor_cfg=dict(type='Classifier')),
    )
    with pytest.raises(ValueError) as e:
        bind_categories(config, CATEGORIES)
    for fault in (
        'bbox_head.num_classes is 80, expected 3, the number of categories',
        "few.pth: no embedding for 2 of 3 categories: ['dog', 'fox']",
        'none.pth: no such prompt file',
        'block_head.cls_predictor_cfg.prompts is missing',
    ):
        assert fault in str(e.value)


def test_missing_prompt_files():
    classifier = dict(type='Classifier', prompts='none.pth')
    config = dict(a=dict(cls_predictor_cfg=classifier), b=dict(cls_predictor_cfg=classifier))
    with pytest.raises(FileNotFoundError) as e:
        bind_categories(config, CATEGORIES)
    assert str(e.value).count('none.pth') == 1
