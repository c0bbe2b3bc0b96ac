"""mmcv's registry holds OADP's hooks, which a config can name."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmcv.runner import HOOKS
from mmdet.datasets import DATASETS
from training_dataset import make_training_dataset

from oadp.dp.engine import hooks
from oadp.utils.config import load_config, to_plain


@pytest.mark.parametrize('name', ['SeedHook', 'FiniteLossHook', 'EvaluationHook'])
def test_hooks_are_found_by_name(name: str):
    assert HOOKS.get(name) is getattr(hooks, name)


def draw(hook: hooks.SeedHook, step: int, seed: int | None) -> float:
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
