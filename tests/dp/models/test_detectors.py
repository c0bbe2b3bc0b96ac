import copy
import functools

import numpy as np
import pytest
import torch
from mmcv.runner import fp16_utils

from oadp.dp import build_detector

NAMES = ('cat', 'dog', 'cow', 'fox', 'owl')


def build(config):
    torch.manual_seed(0)
    return build_detector(config).train()


def as_vild(config):
    model = config.model
    model.type = 'ViLD'
    del model['global_head'], model.roi_head['block_head']
    model.roi_head.type = 'ViLDEnsembleRoIHead'
    model.distiller.student_hooks = {'objects': model.distiller.student_hooks.objects}
    losses = model.distiller.losses
    for name in [*losses]:
        if name != 'loss_clip_objects':
            del losses[name]
    return config


def capture(detector, **parts):
    """What the named modules give in the next forward."""
    seen = {}
    for name, module in parts.items():
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.__setitem__(name, o.detach().double().numpy())
        )
    return seen


def test_distillation_losses_by_hand(tiny_config, tiny_batch):
    """Each distillation loss by its formula in NumPy, with weights that warm up over 200 steps."""
    detector = build(tiny_config)
    seen = capture(
        detector,
        objects=detector.roi_head._object_head.fc_cls._linear,
        blocks=detector.roi_head._block_head.fc_cls._linear,
        image=detector._global_head._classifier._linear,
    )
    teacher = {
        k: np.concatenate([np.atleast_2d(x.double().numpy()) for x in tiny_batch[f'clip_{k}']])
        for k in ('objects', 'blocks', 'global')
    }
    for step in (1, 2):
        losses = detector.forward_train(**tiny_batch)
        relations = [x @ x.T for x in (seen['blocks'], teacher['blocks'])]
        expected = dict(
            loss_clip_objects=256 * np.abs(seen['objects'] - teacher['objects']).mean(),
            loss_clip_blocks=128 * np.abs(seen['blocks'] - teacher['blocks']).mean(),
            loss_clip_block_relations=8 * np.square(relations[0] - relations[1]).mean(),
            loss_clip_global=512 * np.square(seen['image'] - teacher['global']).mean(),
        )
        for name, value in expected.items():
            assert losses[name].item() == pytest.approx(value * step / 200, rel=1e-4), name


def test_every_parameter_learns(tiny_config, tiny_batch):
    """Data-parallel training asks for a gradient of each parameter in each step."""
    for config in (tiny_config, as_vild(copy.deepcopy(tiny_config))):
        detector = build(config)
        loss, _ = detector._parse_losses(detector.forward_train(**tiny_batch))
        loss.backward()
        idle = [n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []


def test_names_of_the_losses(tiny_config, tiny_batch):
    rpn_and_box = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    pyramid = {'loss_block', 'recall_block', 'loss_global', 'recall_global', 'loss_clip_blocks'}
    pyramid |= {'loss_clip_block_relations', 'loss_clip_global'}
    vild = build(as_vild(copy.deepcopy(tiny_config))).forward_train(**tiny_batch)
    assert set(vild) == rpn_and_box | {'loss_clip_objects'}
    assert set(build(tiny_config).forward_train(**tiny_batch)) == set(vild) | pyramid


def test_vild_needs_no_blocks_and_globals(tiny_config, tiny_batch):
    detector = build(as_vild(tiny_config))
    few = {k: v for k, v in tiny_batch.items() if 'block' not in k and k != 'clip_global'}
    torch.manual_seed(1)  # of the samplers
    some = detector.forward_train(**few)
    detector = build(tiny_config)
    torch.manual_seed(1)
    every = detector.forward_train(**tiny_batch)
    assert some['loss_clip_objects'] == every['loss_clip_objects']


def test_a_detector_that_no_one_teaches(tiny_config, tiny_batch):
    config = as_vild(tiny_config)
    config.model.distiller = None
    config.model.roi_head.object_head = None
    detector = build(config)
    plain = {k: v for k, v in tiny_batch.items() if k.startswith(('img', 'gt'))}
    losses = detector.forward_train(**plain)
    assert set(losses) == {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'acc'}
    assert not any(key.startswith('_distiller') for key in detector.state_dict())


@pytest.mark.parametrize(
    'change,match',
    [
        (dict(clip_objects=None), 'object_bboxes and clip_objects, which the batch lacks'),
        (dict(block_bboxes=None), 'block_bboxes and clip_blocks, which the batch lacks'),
        (dict(block_labels=None), 'block_bboxes and block_labels, which the batch lacks'),
        (dict(clip_global=None), r"\['clip_global'\], which the batch lacks"),
        (dict(object_bboxes=[torch.ones(1, 4)] * 2), r'differ in number.*\[1, 1\] and \[4, 3\]'),
    ],
    ids=['no object features', 'no blocks', 'no block labels', 'no image feature', 'counts differ'],
)
def test_incomplete_batches(tiny_config, tiny_batch, change, match):
    with pytest.raises(ValueError, match=match):
        build(tiny_config).forward_train(**{**tiny_batch, **change})


@pytest.mark.parametrize('counts', [(0, 2), (0, 0)], ids=['one image', 'both'])
@pytest.mark.parametrize('kind', ['object', 'block'])
def test_images_without_objects_or_blocks(tiny_config, tiny_batch, kind: str, counts):
    detector = build(tiny_config)
    for key in [k for k in tiny_batch if kind in k]:
        tiny_batch[key] = [x[:n] for x, n in zip(tiny_batch[key], counts, strict=True)]
    losses = detector.forward_train(**tiny_batch)
    loss, _ = detector._parse_losses(losses)
    loss.backward()
    for name in dict(object=['loss_clip_objects'], block=['loss_clip_blocks', 'loss_block'])[kind]:
        assert (losses[name] > 0) == (sum(counts) > 0), name
    assert torch.isfinite(loss)
    grads = [p.grad for p in detector.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


def test_images_without_annotations(tiny_config, tiny_batch):
    """Such as those of which all annotations are crowds."""
    detector = build(tiny_config)
    tiny_batch['gt_bboxes'] = [torch.zeros(0, 4)] * 2
    tiny_batch['gt_labels'] = [torch.zeros(0, dtype=torch.long)] * 2
    tiny_batch['block_labels'] = [torch.zeros_like(labels) for labels in tiny_batch['block_labels']]
    loss, figures = detector._parse_losses(detector.forward_train(**tiny_batch))
    loss.backward()
    assert torch.isfinite(loss) and figures['loss_bbox'] == figures['recall_global'] == 0
    grads = [p.grad for p in detector.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


def test_schedule_moves_in_training_alone(tiny_config, tiny_batch):
    detector = build(tiny_config)
    steps = '_distiller._losses.0.0._weight._steps'
    detector.forward_train(**tiny_batch)
    assert detector.state_dict()[steps] == 2
    detector.eval().forward_train(**tiny_batch)
    assert detector.state_dict()[steps] == 2
    # Constant weights, in spite of the key that a schedule would count in.
    assert detector.state_dict()['_global_head._loss._weight._steps'] == 1


def test_resumes_its_schedule(tiny_config, tiny_batch):
    first = build(tiny_config)
    for _ in range(3):
        first.forward_train(**tiny_batch)
    second = build(tiny_config)
    second.load_state_dict(first.state_dict())
    torch.manual_seed(2)
    a = first.forward_train(**tiny_batch)
    torch.manual_seed(2)
    b = second.forward_train(**tiny_batch)
    for name in ('loss_clip_objects', 'loss_clip_global', 'loss_block'):
        assert a[name] == b[name]


def test_list_of_image_features(tiny_config, tiny_batch):
    """Stacked or one by one: as the batch has them."""
    detector = build(tiny_config).eval()
    a = detector.forward_train(**tiny_batch)
    tiny_batch['clip_global'] = [*tiny_batch['clip_global']]
    b = detector.forward_train(**tiny_batch)
    assert a['loss_clip_global'] == b['loss_clip_global']


def test_half_precision(tiny_config, tiny_batch):
    """Under autocast losses are float32 and close to those without."""
    detector = build(tiny_config).eval()
    torch.manual_seed(1)
    exact = detector.forward_train(**tiny_batch)
    torch.manual_seed(1)
    with torch.autocast('cpu', torch.bfloat16):
        half = detector.forward_train(**tiny_batch)
    for name, value in exact.items():
        if name.startswith(('loss_clip', 'loss_block', 'loss_global')):
            assert half[name].dtype == torch.float32
            assert half[name].item() == pytest.approx(value.item(), rel=0.05), name


def test_labels_are_learned_without_distillation(tiny_config, tiny_batch):
    """Blocks and images are classified by their labels, whatever is distilled."""
    tiny_config.model.distiller = None
    for key in ('clip_objects', 'clip_blocks', 'clip_global'):
        del tiny_batch[key]
    losses = build(tiny_config).forward_train(**tiny_batch)
    assert losses['loss_block'] > 0 and losses['loss_global'] > 0
    assert not any(name.startswith('loss_clip') for name in losses)


def test_distillation_loss_on_an_adapted_feature(tiny_config, tiny_batch):
    """todd's adapts may stand between the batch and a loss."""
    distiller = tiny_config.model.distiller
    before = build(tiny_config).eval().forward_train(**tiny_batch)
    distiller.adapts = dict(detached=dict(inputs=('clip_objects',), action=dict(type='Detach')))
    distiller.losses.loss_clip_objects.inputs = ('objects', 'detached')
    after = build(tiny_config).eval().forward_train(**tiny_batch)
    assert after['loss_clip_objects'] == before['loss_clip_objects']


def test_distiller_that_hooks_what_is_not_there(tiny_config):
    tiny_config.model.distiller.student_hooks.objects.action.path = '.roi_head.nothing'
    with pytest.raises(ValueError, match=r'on \.roi_head\.nothing, and OADP has no such part'):
        build(tiny_config)


def test_three_levels(tiny_config, tiny_batch):
    """Another pyramid by config alone, as the embedded benchmark has it."""
    model = tiny_config.model
    model.backbone.out_indices = (1, 2, 3)
    model.neck.update(dict(in_channels=[16, 32, 64], num_outs=3))
    model.rpn_head.anchor_generator.strides = [8, 16, 32]
    model.roi_head.bbox_roi_extractor.featmap_strides = [8, 16, 32]
    loss, _ = build(tiny_config)._parse_losses(build(tiny_config).forward_train(**tiny_batch))
    assert torch.isfinite(loss)


@torch.no_grad()
def test_detects(tiny_config, tiny_batch):
    detector = build(tiny_config).eval()
    (result,) = detector(
        return_loss=False,
        rescale=True,
        img=[tiny_batch['img'][:1]],
        img_metas=[tiny_batch['img_metas'][:1]],
    )
    assert len(result) == len(NAMES) and all(r.shape[1] == 5 for r in result)
    assert 0 < sum(map(len, result)) <= 300
    assert detector.CLASSES == NAMES


@pytest.fixture
def cpu_autocast(monkeypatch):
    """fp16 as on a GPU: mmcv's decorators switch autocast, here that of the CPU, on and off."""
    monkeypatch.setattr(
        fp16_utils, 'autocast', functools.partial(torch.autocast, 'cpu', dtype=torch.float16)
    )


@pytest.mark.parametrize(('count', 'dtype'), [(0, torch.float32), (3, torch.float16)])
def test_no_boxes_in_half_precision(tiny_config, tiny_batch, cpu_autocast, count: int, dtype):
    """SyncBN of several processes needs the same type of all, whoever has no boxes."""
    detector = build(tiny_config)
    fp16_utils.wrap_fp16_model(detector)
    seen = []
    norm = detector.roi_head._object_head.shared_convs[0].bn
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for key in ('clip_objects', 'object_bboxes'):
        tiny_batch[key] = [features[:count] for features in tiny_batch[key]]
    detector.train_step(tiny_batch, None)['loss'].backward()
    assert [(len(x), x.dtype) for x in seen] == [(2 * count, dtype)]


def test_training_in_half_precision(tiny_config, tiny_batch, cpu_autocast):
    for sampler in (
        tiny_config.model.train_cfg.rpn.sampler,
        tiny_config.model.train_cfg.rcnn.sampler,
    ):
        sampler.num = 100000  # nothing is drawn at random
    torch.manual_seed(0)
    detector = build_detector(tiny_config).train()
    whole = detector.train_step(dict(tiny_batch), None)['log_vars']
    fp16_utils.wrap_fp16_model(detector)
    for loss in detector.distiller['losses'].actions:
        loss._weight.steps = 1
    features = []
    detector.neck.register_forward_hook(lambda module, inputs, output: features.append(output[0]))
    half = detector.train_step(dict(tiny_batch), None)
    assert features[0].dtype == torch.float16
    assert half['log_vars'] == pytest.approx(whole, rel=0.03, abs=1e-3)
    half['loss'].backward()
    gradients = [p.grad for p in detector.parameters() if p.requires_grad]
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)
