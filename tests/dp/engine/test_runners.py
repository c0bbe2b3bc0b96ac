"""mmcv's registries hold OADP's runners and hooks, beside mmcv's own."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmcv.runner import HOOKS, RUNNERS, IterBasedRunner
from mmdet.datasets import DATASETS
from training_dataset import make_training_dataset

from oadp.dp.engine import runners
from oadp.dp.engine.runners import find_runner
from oadp.utils.config import load_config, to_plain


def test_names_of_mmcv_keep_their_meaning():
    assert RUNNERS.get('IterBasedRunner') is IterBasedRunner
    assert RUNNERS.get('ResumableIterBasedRunner') is runners.ResumableIterBasedRunner
    for name in ('SeedHook', 'FiniteLossHook', 'EvaluationHook'):
        assert HOOKS.get(name) is getattr(runners, name)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('IterBasedRunner', 'ResumableIterBasedRunner'),
        ('EpochBasedRunner', 'ResumableEpochBasedRunner'),
        ('ResumableEpochBasedRunner', 'ResumableEpochBasedRunner'),
    ],
)
def test_found_runners(name: str, expected: str):
    found = find_runner(name)
    assert found is not None and found.__name__ == expected


@pytest.mark.parametrize('name', ['Runner', 'no such', None])
def test_runners_that_cannot_resume_are_not_found(name):
    assert find_runner(name) is None


def draw(hook: runners.SeedHook, step: int, seed: int | None) -> float:
    runner = SimpleNamespace(meta=dict(seed=seed), iter=step)
    hook.before_run(runner)
    hook.before_train_iter(runner)
    return np.random.rand()


def test_seed_of_the_hook_or_of_the_run():
    from_config = HOOKS.build(dict(type='SeedHook'))
    value = draw(from_config, 3, seed=5)
    assert draw(HOOKS.build(dict(type='SeedHook', seed=5)), 3, seed=None) == value
    assert draw(HOOKS.build(dict(type='SeedHook', seed=5)), 4, seed=None) != value


def test_no_seed():
    with pytest.raises(ValueError, match='SeedHook: expected a seed'):
        draw(HOOKS.build(dict(type='SeedHook')), 0, seed=None)


def test_evaluation_hook_of_a_config(tmp_path):
    config = load_config(make_training_dataset(tmp_path))
    loader = to_plain(config.validator.dataloader)
    loader['dataset']['categories'] = config.categories
    hook = HOOKS.build(dict(type='EvaluationHook', dataloader=loader, interval=2, by_epoch=False))
    assert len(hook.dataloader) == 5 and hook.interval == 2
    assert isinstance(hook.dataloader.dataset.dataset, DATASETS.get('OV_COCO'))
