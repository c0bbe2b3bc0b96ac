"""Every part of the pyramid, and every loss, left out by a None."""

import logging
import pathlib

import pytest
import torch

from oadp.dp import build_detector
from oadp.dp.models.distillation import features_used, untrained_heads, without_unused
from oadp.utils.config import load_config, to_plain

ROOT = pathlib.Path(__file__).resolve().parents[3]

EVERYTHING = {
    'loss_clip_objects', 'loss_clip_blocks', 'loss_clip_block_relations', 'loss_clip_global',
    'loss_block', 'recall_block', 'loss_global', 'recall_global',
    'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc',
}  # fmt: skip
BLOCK_LOSSES = dict(loss_clip_blocks=None, loss_clip_block_relations=None)


def losses_without(**losses: None) -> dict:
    return dict(distiller=dict(losses=losses))


@pytest.mark.parametrize(
    ('change', 'gone'),
    [
        (losses_without(loss_clip_objects=None), {'loss_clip_objects'}),
        (losses_without(loss_clip_blocks=None), {'loss_clip_blocks'}),
        (losses_without(loss_clip_block_relations=None), {'loss_clip_block_relations'}),
        (losses_without(loss_clip_global=None), {'loss_clip_global'}),
        (dict(roi_head=dict(block_head=dict(loss=None))), {'loss_block'}),
        (dict(global_head=dict(loss=None)), {'loss_global'}),
        (
            dict(global_head=None, **losses_without(loss_clip_global=None)),
            {'loss_clip_global', 'loss_global', 'recall_global'},
        ),
        (
            dict(roi_head=dict(block_head=None), **losses_without(**BLOCK_LOSSES)),
            {*BLOCK_LOSSES, 'loss_block', 'recall_block'},
        ),
        (
            dict(roi_head=dict(object_head=None), **losses_without(loss_clip_objects=None)),
            {'loss_clip_objects'},
        ),
        (dict(distiller=None), {k for k in EVERYTHING if 'clip' in k}),
        (
            dict(
                global_head=None,
                roi_head=dict(object_head=None, block_head=None),
                **losses_without(loss_clip_objects=None, loss_clip_global=None, **BLOCK_LOSSES),
            ),
            {k for k in EVERYTHING if 'clip' in k or 'block' in k or 'global' in k},
        ),
    ],
    ids=[
        'objects', 'blocks', 'relations', 'global', 'labels of blocks', 'labels of the image',
        'global head', 'block head', 'object head', 'distiller', 'all but the box head',
    ],
)  # fmt: skip
def test_left_out(tiny_config, tiny_batch, change: dict, gone: set[str]):
    tiny_config.model.update(change)
    torch.manual_seed(0)
    detector = build_detector(tiny_config).train()
    losses = detector.forward_train(**tiny_batch)
    assert set(losses) == EVERYTHING - gone
    total, _ = detector._parse_losses(losses)
    total.backward()
    untrained = untrained_heads(detector)
    idle = [n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert bool(idle) == bool(untrained)
    for head in untrained.values():
        head.requires_grad_(False)
    assert not [n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    meta = dict(img_shape=(64, 96, 3), scale_factor=torch.ones(4).numpy())
    detector.eval()
    with torch.no_grad():
        result = detector(
            return_loss=False, rescale=True, img=[tiny_batch['img'][:1]], img_metas=[[meta]]
        )
    assert len(result[0]) == 5


@pytest.mark.parametrize(
    ('change', 'keys'),
    [
        (dict(), set()),
        (losses_without(loss_clip_objects=None), {'roi_head.object_head'}),
        (losses_without(**BLOCK_LOSSES), set()),  # its labels train it
        (
            dict(roi_head=dict(block_head=dict(loss=None)), **losses_without(**BLOCK_LOSSES)),
            {'roi_head.block_head'},
        ),
        (
            dict(global_head=dict(loss=None), **losses_without(loss_clip_global=None)),
            {'global_head'},
        ),
        (dict(global_head=dict(loss=None)), set()),
    ],
)
def test_heads_that_nothing_trains(tiny_config, change: dict, keys: set[str]):
    tiny_config.model.update(change)
    assert set(untrained_heads(build_detector(tiny_config))) == keys


def test_training_says_which_head_nothing_trains(tiny_config, caplog):
    from oadp.dp.engine.run import _build_model
    from oadp.utils.runtime import World

    tiny_config.model.update(losses_without(loss_clip_objects=None))
    world = World(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
    model = _build_model(tiny_config, dict(seed=0), world, logging.getLogger('test')).module
    assert not any(p.requires_grad for p in model.roi_head._object_head.parameters())
    assert all(p.requires_grad for p in model.roi_head._block_head.parameters())
    assert 'model.roi_head.object_head: no loss trains it' in caplog.text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(global_head=None), r'loss_clip_global .* on \._global_head\..*model\.global_head is'
         r' None.*set model\.distiller\.losses\.loss_clip_global=None'),
        (dict(roi_head=dict(block_head=None)), 'loss_clip_blocks .*roi_head.block_head is None.*'
         'loss_clip_block_relations '),
        (dict(roi_head=dict(object_head=None)), 'loss_clip_objects .*roi_head.object_head is None'),
        (dict(distiller=dict(student_hooks=dict(global_=None))), r"from 'global_': expected one of "
         r"student_hooks \['blocks', 'objects'\].*loss_clip_global=None"),
    ],
    ids=['global head', 'block head', 'object head', 'hook'],
)  # fmt: skip
def test_a_loss_without_its_part(tiny_config, change: dict, message: str):
    tiny_config.model.update(change)
    with pytest.raises(ValueError, match=message):
        build_detector(tiny_config)


def test_hooks_and_adapts_go_with_the_losses(tiny_config):
    distiller = to_plain(tiny_config.model.distiller)
    distiller['adapts'] = dict(
        mapped=dict(inputs=('blocks',), action=dict(type='Linear')),
        twice=dict(inputs=('mapped',), action=dict(type='Linear')),
        other=dict(inputs=('global_',), action=dict(type='Linear')),
    )
    distiller['losses'] = dict(a=dict(inputs=('twice', 'clip_blocks')), b=None)
    before = to_plain(distiller)
    kept = without_unused(distiller)
    assert distiller == before
    assert (set(kept['student_hooks']), set(kept['adapts'])) == ({'blocks'}, {'mapped', 'twice'})
    assert set(kept['losses']) == {'a'}


@pytest.mark.parametrize(
    ('config', 'kinds'),
    [
        ('vild_ov_coco', {'objects'}),
        ('oadp_ov_coco', {'globals', 'blocks', 'objects'}),
        ('oadp_ov_lvis_released', {'blocks', 'objects'}),
        ('ablations/box', set()),
        ('ablations/blocks_global', {'globals', 'blocks'}),
    ],
)
def test_only_the_features_that_the_model_uses_are_loaded(config: str, kinds: set[str]):
    loaded = load_config(ROOT / f'configs/dp/{config}.py')
    assert features_used(to_plain(loaded.model)) == kinds
