"""The config for mmdetection 2.x; that mmdet's tools run with it is in ``test_mmdet_tool``."""

import pathlib
from typing import Any

import mmcv
import pytest
from training_dataset import ROOT

from oadp.dp import mmdet_config
from oadp.dp.mmdet_config import to_mmdet_config
from oadp.utils.config import load_config, to_plain

CONFIGS = sorted(
    file
    for folder in ('dp', 'dp/ablations', 'dp/others', 'mini')
    for file in (ROOT / 'configs' / folder).glob('*.py')
    if 'validator' in load_config(file)
)
KEYS = {
    *('model', 'data', 'optimizer', 'optimizer_config', 'lr_config', 'runner', 'evaluation'),
    *('checkpoint_config', 'log_config', 'fp16', 'custom_hooks', 'custom_imports', 'workflow'),
    *('load_from', 'resume_from', 'log_level', 'dist_params', 'train_pipeline', 'test_pipeline'),
}


def written(tmp_path: pathlib.Path, config: pathlib.Path, *overrides: str) -> Any:
    out = tmp_path / 'out.py'
    mmdet_config.main([str(config), str(out), '--override', *overrides])
    return mmcv.Config.fromfile(str(out))


def inner(dataset: Any) -> Any:
    return inner(dataset.dataset) if 'dataset' in dataset else dataset


@pytest.mark.parametrize('file', CONFIGS, ids=lambda f: f'{f.parent.name}/{f.stem}')
def test_shipped_configs(file: pathlib.Path):
    config = mmcv.Config(to_mmdet_config(load_config(file)))
    assert set(config.keys()) >= KEYS
    assert 'trainer' not in config and 'validator' not in config
    for split in ('train', 'val', 'test'):
        dataset = inner(config.data[split])
        assert dataset.pipeline[0].type == 'ReadImage'
        assert dataset.test_mode == (split != 'train')
        assert dataset.get('categories') == load_config(file).get('categories')


def test_the_given_config_is_not_changed():
    config = load_config(ROOT / 'configs/dp/oadp_ov_coco.py')
    before = to_plain(config)
    to_mmdet_config(config)
    assert to_plain(config) == before


def test_unused_features_are_not_loaded():
    config = mmcv.Config(to_mmdet_config(load_config(ROOT / 'configs/dp/ablations/objects.py')))
    step = config.data.train.pipeline[2]
    assert (step.globals_, step.blocks) == (None, None) and step.objects is not None
    assert 'clip_blocks' not in config.train_pipeline[-1]['keys']
    assert 'clip_objects' in config.train_pipeline[-1]['keys']


def test_training_without_evaluation(tmp_path: pathlib.Path):
    """mmdet's ``evaluation`` cannot be None: its interval is longer than the training."""
    config = written(tmp_path, ROOT / 'configs/mini/oadp.py')
    assert config.evaluation.interval == config.runner.max_iters + 1


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ('None', None),
        ('False', None),
        ('True', {}),
        ('{}', {}),
        ("{'loss_scale': 2.0}", {'loss_scale': 2.0}),
    ],
)
def test_fp16(tmp_path: pathlib.Path, given: str, expected: Any):
    config = ROOT / 'configs/dp/oadp_ov_coco.py'
    assert written(tmp_path, config, f'.trainer.fp16:{given}').fp16 == expected


def test_modules_of_the_user_are_imported_after_ours():
    config = to_plain(load_config(ROOT / 'configs/dp/oadp_ov_coco.py'))
    config['custom_imports'] = dict(imports='json', allow_failed_imports=True)
    assert to_mmdet_config(config)['custom_imports'] == dict(
        imports=['oadp.dp', 'json'], allow_failed_imports=True
    )


def test_a_detector_of_mmdet_gets_no_categories():
    config = load_config(ROOT / 'configs/mini/rpn.py')
    assert 'categories' not in to_mmdet_config(config)['model']


@pytest.mark.parametrize('out', ['x.txt', '{config}'])
def test_output_that_is_refused(tmp_path: pathlib.Path, out: str):
    config = str(ROOT / 'configs/dp/oadp_ov_coco.py')
    with pytest.raises(ValueError, match='expected a name that ends in .py, other than'):
        mmdet_config.main([config, out.format(config=config)])


def test_a_part_of_a_config():
    with pytest.raises(ValueError, match=r"found none of the keys \['trainer', 'validator'\]"):
        to_mmdet_config(load_config(ROOT / 'configs/dp/models/oadp.py'))
