"""Each shipped config of a detector can be built and has the keys of the released checkpoints."""

import json
import pathlib

import pytest
import torch

from oadp.categories import get_categories
from oadp.dp import build_detector
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs' / 'dp').glob('*.py'))
ABLATIONS = sorted((ROOT / 'configs' / 'dp' / 'ablations').glob('*.py'))


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


def test_all_configs_exist():
    names = {'oadp_ov_coco', 'oadp_ov_lvis', 'oadp_ov_lvis_released', 'vild_ov_coco'}
    assert {p.stem for p in CONFIGS} == names
    assert {p.stem for p in ABLATIONS} == {
        'box', 'objects', 'objects_blocks', 'objects_blocks_relations',
        'objects_blocks_relations_global', 'blocks_global',
    }  # fmt: skip


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda p: p.stem)
def test_ablations_start_with_the_command_and_the_expected_result(path: pathlib.Path):
    text = path.read_text()
    assert f'-m oadp.dp.train ablations/{path.stem} configs/dp/ablations/{path.name}' in text
    assert 'Expected:' in text


def test_results_are_documented_in_the_configs_of_their_models():
    """The published model for OV-LVIS has no global head."""
    folder = ROOT / 'configs/dp'
    released = (folder / 'oadp_ov_lvis_released.py').read_text()
    assert 'Expected: 20.7 box APr and 19.9 mask APr' in released and '19.1' in released
    assert 'reported 18.2 box APr with the global head' in (folder / 'oadp_ov_lvis.py').read_text()


@pytest.fixture(scope='module', params=CONFIGS, ids=lambda p: p.stem)
def config(request):
    return request.param, load_config(request.param)


def test_configs_start_with_the_command_and_the_expected_result(config):
    path, _ = config
    text = path.read_text()
    assert f'-m oadp.dp.train {path.stem} configs/dp/{path.name}' in text
    assert 'Expected:' in text


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_keys_of_the_released_checkpoints(config, root, golden, monkeypatch):
    path, loaded = config
    monkeypatch.chdir(root)
    # Drawing random numbers for 60 million weights takes most of the time, and they are not used.
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'uniform_', 'normal_', 'xavier_uniform_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)
    state = build_detector(loaded).state_dict()
    recorded = json.loads((golden / 'expected' / 'state_dict_keys.json').read_text())
    expected = recorded[path.stem.removesuffix('_released')]
    if path.stem == 'oadp_ov_lvis_released':
        # The last of the four distillation losses is that of the whole image.
        absent = ('_global_head.', '_distiller._losses.3.')
        expected = {k: v for k, v in expected.items() if not k.startswith(absent)}
    assert {k: [list(v.shape), str(v.dtype)] for k, v in state.items()} == expected


@pytest.mark.parametrize(
    'name,prompts,temperatures',
    [
        ('vild_ov_coco', ['vild'] * 2, [(0.01, 0.007)] * 2),
        ('oadp_ov_coco', ['vild'] + ['ml_coco'] * 3, [(0.007, 0.01)]),
        ('oadp_ov_lvis', ['detpro_lvis'] * 4, [(0.01, 0.007)] * 3 + [(0.007, 0.01)]),
    ],
)
def test_classifiers_are_those_of_the_table(name, prompts, temperatures):
    """The table "Schedules" lists the prompts and the temperature of each head."""
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
