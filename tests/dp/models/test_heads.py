import numpy as np
import pytest
import torch
from mmcv import ConfigDict
from mmdet.models.builder import build_head
from sklearn.metrics import recall_score

from oadp.categories import get_categories
from oadp.dp.models.fill_categories import bind_categories
from oadp.dp.models.heads import GlobalHead, topk_recall
from oadp.utils.config import to_plain


@pytest.fixture
def head(tiny_config):
    categories = get_categories(tiny_config.categories)

    def build(name):
        roi_head = bind_categories(tiny_config.model.roi_head, categories)
        merged = {**roi_head.bbox_head, **to_plain(roi_head[name])}
        merged['norm_cfg'] = dict(type='BN')
        torch.manual_seed(0)
        return build_head(ConfigDict(merged))

    return build


@pytest.mark.parametrize('k', [1, 3, 20])
def test_recall(k):
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(12, 9)), rng.random((12, 9)) < 0.2
    targets[:, 4] = False  # a category without a label has no recall
    top = np.argsort(-logits, axis=1)[:, :k]
    predicted = np.zeros_like(targets)
    np.put_along_axis(predicted, top, True, axis=1)
    expected = recall_score(
        targets, predicted, average='macro', labels=np.flatnonzero(targets.any(0))
    )
    got = topk_recall(torch.from_numpy(logits), torch.from_numpy(targets), k)
    assert got.item() == pytest.approx(100 * expected, rel=1e-5)


def test_recall_without_labels_is_zero():
    assert topk_recall(torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.bool), 2).item() == 0
    assert topk_recall(torch.randn(0, 4), torch.zeros(0, 4, dtype=torch.bool), 2).item() == 0


def test_object_head_has_no_background(head):
    object_head = head('object_head').eval()
    logits, boxes = object_head(torch.randn(4, 16, 7, 7))
    assert boxes is None and logits.shape == (4, 6)
    assert torch.isneginf(logits[:, -1]).all() and torch.isfinite(logits[:, :-1]).all()
    frozen = {n for n, p in object_head.named_parameters() if not p.requires_grad}
    assert frozen == {'fc_cls._bg_embedding'}
    assert not hasattr(object_head, 'fc_reg')


def test_block_loss_leaves_the_background_out(head):
    block_head = head('block_head')
    logits, boxes = block_head(torch.randn(4, 16, 7, 7))
    assert boxes is None and logits.shape == (4, 6)
    labels = torch.tensor([[1, 0, 0, 0, 1]] * 4).bool()
    got = block_head.loss(logits, labels)
    other = torch.cat([logits[:, :-1], torch.full((4, 1), 99.0)], 1)
    assert block_head.loss(other, labels)['loss_block'] == got['loss_block']
    # 16/1000 times the mean of the asymmetric loss, γ− = 4, by the formula
    p = torch.where(torch.isneginf(logits), 0, 1 / (1 + (-logits).exp()))[:, :-1].detach().numpy()
    shifted = np.minimum(1 - p + 0.05, 1)
    y = labels.numpy()
    expected = -(y * np.log(np.maximum(p, 1e-8)) + ~y * np.log(shifted) * (1 - shifted) ** 4).mean()
    assert got['loss_block'].item() == pytest.approx(0.016 * expected, rel=1e-4)
    got['loss_block'].backward()
    assert block_head.fc_cls._bg_embedding.grad.abs().max() == 0  # none, but in the graph


def test_global_head_sees_the_coarsest_level(tiny_config):
    categories = get_categories(tiny_config.categories)
    head = GlobalHead(**bind_categories(tiny_config.model.global_head, categories)).eval()
    features = [torch.randn(2, 16, 8, 12), torch.randn(2, 16, 4, 6)]
    torch.testing.assert_close(head(features), head._classifier(features[1].flatten(2).mean(2)))
    assert head(features).shape == (2, 5)


def test_global_targets_are_the_labels_of_the_boxes(tiny_config):
    categories = get_categories(tiny_config.categories)
    head = GlobalHead(**bind_categories(tiny_config.model.global_head, categories)).eval()
    features = [torch.randn(3, 16, 4, 6)]
    labels = [torch.tensor([2, 0, 2]), torch.tensor([1]), torch.zeros(0, dtype=torch.long)]
    targets = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    got = head.forward_train(features, labels)
    assert got == head.loss(head(features), targets)
    assert got['recall_global'] == 100  # of 5 categories all are among the top 20
