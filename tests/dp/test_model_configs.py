"""Every shipped config of a detector loads and builds, and has the keys of the released checkpoints."""

import json
import pathlib

import pytest
import torch

from oadp.categories import get_categories
from oadp.config import load_config
from oadp.dp import build_detector

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs' / 'dp').glob('*.py'))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A working directory with prompt files of random embeddings."""
    folder = tmp_path_factory.mktemp('full')
    (folder / 'data' / 'prompts').mkdir(parents=True)
    for file, sets in (
        ('vild', ('coco', 'lvis')),
        ('ml_coco', ('coco',)),
        ('detpro_lvis', ('lvis',)),
    ):
        names = sorted({name for s in sets for name in get_categories(s).all_})
        prompts = dict(names=names, embeddings=torch.randn(len(names), 512))
        prompts.update(scaler=torch.tensor(20.0), bias=torch.tensor(4.0))
        torch.save(prompts, folder / 'data' / 'prompts' / f'{file}.pth')
    return folder


def test_the_three_are_there():
    assert {'oadp_ov_coco', 'oadp_ov_lvis', 'vild_ov_coco'} <= {p.stem for p in CONFIGS}


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda p: p.stem)
def config(request):
    return request.param, load_config(request.param)


def test_opens_with_the_command_and_the_expected_result(config):
    path, _ = config
    text = path.read_text()
    assert f'-m oadp.dp.train {path.stem} configs/dp/{path.name}' in text
    assert 'Expected:' in text


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_keys_of_the_released_checkpoints(config, root, golden, monkeypatch):
    path, loaded = config
    monkeypatch.chdir(root)
    # Random numbers for 60 million weights are what takes time in building, and no one reads them.
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'uniform_', 'normal_', 'xavier_uniform_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    state = build_detector(loaded).state_dict()
    expected = json.loads((golden / 'expected' / 'state_dict_keys.json').read_text())[path.stem]
    assert {k: [list(v.shape), str(v.dtype)] for k, v in state.items()} == expected


@pytest.mark.parametrize(
    'name,prompts,temperatures',
    [
        ('vild_ov_coco', ['vild'] * 2, [(0.01, 0.007)] * 2),
        ('oadp_ov_coco', ['vild'] + ['ml_coco'] * 3, [(0.007, 0.01)]),
        ('oadp_ov_lvis', ['detpro_lvis'] * 4, [(0.01, 0.007)] * 3 + [(0.007, 0.01)]),
    ],
)
def test_classifiers_are_the_tables(name, prompts, temperatures):
    """Table "Schedules" of the paper's settings: which prompts and temperature each head has."""
    model = load_config(ROOT / 'configs' / 'dp' / f'{name}.py').model
    box = model.roi_head.bbox_head.cls_predictor_cfg
    heads = [box, model.roi_head.object_head.get('cls_predictor_cfg', box)]
    if name.startswith('oadp'):
        heads.append(model.roi_head.block_head.get('cls_predictor_cfg', box))
        heads.append(model.global_head.classifier)
    assert [pathlib.Path(h.prompts).stem for h in heads] == prompts
    found = [(h.scaler.train, h.scaler.val) for h in heads if h.type == 'ViLDClassifier']
    assert found == temperatures


@pytest.mark.parametrize(
    'name,multipliers',
    [
        ('vild_ov_coco', {}),
        ('oadp_ov_coco', {'roi_head.bbox_head': {'lr_mult': 0.5}}),
        ('oadp_ov_lvis', {}),
    ],
)
def test_learning_rate_of_the_box_head(name, multipliers):
    optimizer = load_config(ROOT / 'configs' / 'dp' / f'{name}.py').trainer.optimizer
    found = optimizer.get('paramwise_cfg', {}).get('custom_keys', {})
    assert {k: dict(v) for k, v in found.items()} == multipliers
