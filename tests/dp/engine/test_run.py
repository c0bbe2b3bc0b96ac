"""The learning rate and the precision of a run depend on the processes and the device."""

import logging
import pathlib

import pytest
import torch
from training_dataset import make_training_dataset

from oadp.dp.engine import run as module
from oadp.utils import runtime
from oadp.utils.config import load_config
from oadp.utils.runtime import ProcessInfo


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    make_training_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('processes', 'override', 'expected'),
    [(1, {}, 0.0025), (8, {}, 0.02), (4, {'enable': False}, 0.02)],
)
def test_learning_rate_scales_with_the_images_per_step(
    here: pathlib.Path, processes: int, override: dict, expected: float
):
    trainer = load_config(here / 'ov_coco.py').trainer
    trainer.auto_scale_lr.update(override)
    world = ProcessInfo(rank=0, local_rank=0, size=processes, device=torch.device('cpu'))
    optimizer = module._scaled_optimizer(trainer, world, logging.getLogger('silent'))
    assert optimizer['lr'] == pytest.approx(expected)
    assert trainer.optimizer.lr == 0.02


@pytest.mark.filterwarnings('ignore:torch.cuda.amp.GradScaler is enabled:UserWarning')
@pytest.mark.parametrize(
    ('fp16', 'expected'),
    [(True, True), (dict(), True), (dict(loss_scale=64.0), True), (False, False)],
)
def test_half_precision_setting(here: pathlib.Path, monkeypatch, fp16, expected: bool):
    """The setting takes effect on a GPU, which is simulated."""
    config = load_config('ov_coco.py', {'.trainer.fp16': fp16, '.trainer.evaluation': None})
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, *_, **__: self)
    wrap = module.MMDataParallel
    monkeypatch.setattr(module, 'MMDataParallel', lambda model, **_: wrap(model))
    world = ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cuda', 0))
    run = module.prepare(config, here / 'work_dirs/half', world, runtime.get_logger())
    names = [type(hook).__name__ for hook in run.runner.hooks]
    assert ('Fp16OptimizerHook' in names) == expected != ('OptimizerHook' in names)
