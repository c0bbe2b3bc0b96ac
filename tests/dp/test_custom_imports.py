"""What a user's module registers, named in a config by ``custom_imports``."""

import pathlib
import sys

import pytest
from training_dataset import make_training_dataset

from oadp.compat import load_tensors
from oadp.dp import mmdet_config, mmdet_tool, train
from oadp.dp.custom_imports import import_custom_modules
from oadp.utils.config import dump_config, load_config

MODULE = 'plugin_of_a_user'
SOURCE = """
from mmcv.runner import HOOKS, RUNNERS, Hook
from mmdet.core.bbox.builder import BBOX_SAMPLERS
from mmdet.core.bbox.samplers import RandomSampler
from todd.losses import BaseLoss, LossRegistry

from oadp.dp.engine.runners import ResumableIterBasedRunner

losses = []
sampled = []


@HOOKS.register_module()
class RecordingHook(Hook):
    def after_train_iter(self, runner):
        losses.append(dict(runner.outputs['log_vars']))


@BBOX_SAMPLERS.register_module()
class RecordingSampler(RandomSampler):
    def sample(self, *args, **kwargs):
        sampled.append(1)
        return super().sample(*args, **kwargs)


@LossRegistry.register()
class HalfL1Loss(BaseLoss):
    def forward(self, student, teacher):
        return self.reduce((student - teacher).abs() / 2)


@RUNNERS.register_module()
class SubclassedRunner(ResumableIterBasedRunner):
    def run(self, *args, **kwargs):
        self.meta['by'] = 'user'
        return super().run(*args, **kwargs)
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A configuration that uses everything in the module, and all dataset wrappers."""
    root = tmp_path_factory.mktemp('custom')
    make_training_dataset(root)
    (root / f'{MODULE}.py').write_text(SOURCE)
    config = load_config(root / 'ov_coco.py')
    config.custom_imports = dict(imports=[MODULE], allow_failed_imports=False)
    config.trainer.custom_hooks = [dict(type='RecordingHook')]
    config.trainer.runner = dict(type='SubclassedRunner', max_iters=2)
    config.trainer.evaluation = None
    config.model.train_cfg.rcnn.sampler.type = 'RecordingSampler'
    losses = config.model.distiller.losses
    losses.loss_clip_half = dict(inputs=('objects', 'clip_objects'))
    losses.loss_clip_half.action = {**losses.loss_clip_objects.action, 'type': 'HalfL1Loss'}
    dataset = config.trainer.dataloader.dataset
    config.trainer.dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=dataset),
            dict(type='RepeatDataset', times=2, dataset=dataset),
        ],
    )
    dump_config(config, root / 'custom.py')
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def take(name: str) -> list:
    values = getattr(sys.modules[MODULE], name)
    taken = values[:]
    values.clear()
    return taken


def check_records() -> None:
    steps = take('losses')
    assert len(steps) == 2 and len(take('sampled')) >= 4
    for step in steps:
        assert step['loss_clip_half'] == pytest.approx(step['loss_clip_objects'] / 2)


def test_training(here: pathlib.Path):
    train.main(['custom', 'custom.py'])
    check_records()
    assert load_tensors('work_dirs/custom/iter_2.pth')['meta']['by'] == 'user'


@pytest.mark.slow  # mmdet formats the config several times, 10 s
def test_training_by_the_tool_of_mmdet(here: pathlib.Path):
    mmdet_config.main(['custom.py', 'of_mmdet.py'])
    mmdet_tool.main(['train', 'of_mmdet.py', '--no-validate', '--seed', '0'])
    check_records()


def test_missing_module(here: pathlib.Path):
    config = dict(custom_imports=dict(imports=['module_that_is_not_there']))
    with pytest.raises(ImportError, match='custom_imports: module_that_is_not_there cannot be'):
        import_custom_modules(config)


def test_missing_module_that_may_be_missing(here: pathlib.Path):
    custom = dict(imports=['module_that_is_not_there', MODULE], allow_failed_imports=True)
    import_custom_modules(dict(custom_imports=custom))
    assert MODULE in sys.modules


@pytest.mark.parametrize(
    'custom', ['x', dict(import_='x'), dict(imports=[1]), dict(imports='x', y=1)]
)
def test_wrong_form(custom):
    with pytest.raises(ValueError, match=r'custom_imports is .*: expected dict\(imports='):
        import_custom_modules(dict(custom_imports=custom))
