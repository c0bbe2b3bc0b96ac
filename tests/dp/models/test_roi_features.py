import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from oadp.dp.models.roi_features import pooled_along


@pytest.fixture
def extractor():
    layer = dict(type='RoIAlign', output_size=3, sampling_ratio=0)
    return SingleRoIExtractor(layer, out_channels=4, featmap_strides=[4, 8])


@pytest.fixture
def levels():
    generator = torch.Generator().manual_seed(0)
    sizes = ((32, 48), (16, 24))
    return [torch.randn(2, 4, *s, generator=generator).requires_grad_() for s in sizes]


def random_rois(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 60
    side = 10 + 110 * torch.rand(n, 2, generator=generator)  # of both levels
    image = torch.randint(2, (n, 1), generator=generator).float()
    return torch.cat([image, corner, corner + side], 1)


@pytest.mark.parametrize('counts', [(5,), (5, 3), (0, 3), (0, 0)])
@pytest.mark.parametrize('num_own', [7, 0])
def test_same_features_and_gradients_as_by_passes_of_their_own(
    extractor, levels, num_own: int, counts: tuple[int, ...]
):
    sets = [random_rois(n, seed) for seed, n in enumerate((num_own, *counts))]
    passes = []
    extractor.roi_layers[0].register_forward_hook(lambda *_: passes.append(1))

    def gradients(all_features):
        loss = sum(features.square().sum() for features in all_features)
        return torch.autograd.grad(loss, levels)

    expected = [extractor(levels, rois) for rois in sets]
    passes.clear()
    with pooled_along(extractor, sets[1:]) as pooled:
        own = extractor(levels, sets[0])
    assert len(passes) <= 1
    for a, b in zip([own, *pooled], expected, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(gradients([own, *pooled]), gradients(expected), strict=True):
        torch.testing.assert_close(a, b)


def test_only_the_next_pass(extractor, levels):
    rois = random_rois(4, 0)
    with pooled_along(extractor, [random_rois(3, 1)]) as pooled:
        extractor(levels, rois)
        assert len(extractor(levels, rois)) == 4 and len(pooled) == 1
    assert len(extractor(levels, rois)) == 4 and len(pooled) == 1


def test_without_a_pass(extractor, levels):
    with pooled_along(extractor, [random_rois(3, 1)]) as pooled:
        pass
    assert pooled == [] and len(extractor(levels, random_rois(4, 0))) == 4


def test_an_error_leaves_nothing_behind(extractor, levels):
    with pytest.raises(RuntimeError), pooled_along(extractor, [random_rois(3, 1)]):
        extractor(levels, torch.zeros(4, 2))  # not RoIs
    assert len(extractor(levels, random_rois(4, 0))) == 4
