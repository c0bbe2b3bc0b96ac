"""Check the settings of a training run, and shorten them for ``DRY_RUN``."""

__all__ = ['checked_trainer', 'is_endless', 'shorten']

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmcv.runner import IterBasedRunner

from oadp.dp.engine.runners import find_runner
from oadp.utils.config import section, to_plain

_REQUIRED = (
    'dataloader',
    'optimizer',
    'optimizer_config',
    'lr_config',
    'runner',
    'workflow',
    'checkpoint_config',
    'log_config',
    'seed',
)
_DRY_RUN_STEPS = 2

_COUNTS = {
    'dataloader.samples_per_gpu': 1,
    'dataloader.workers_per_gpu': 0,
    'runner.max_iters': 1,
    'runner.max_epochs': 1,
    'checkpoint_config.interval': 1,
    'evaluation.interval': 1,
    'log_config.interval': 1,
}
"""The keys of ``trainer`` that are counts, and their lowest values."""

_NEVER_SAVE = ('checkpoint_config.interval', -1)  # mmcv's


def checked_trainer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``trainer`` of a config as a new dict, with integers for the counts.

    Raises:
        ValueError: keys are missing, invalid or contradict each other; the message lists all of them.
    """
    trainer = to_plain(section(config, '.trainer'))
    faults = [f'no {key}' for key in _REQUIRED if key not in trainer]
    runner = trainer.get('runner', {}).get('type')
    if find_runner(runner) is None:
        faults.append(
            f"runner.type is {runner!r}; choose from ['EpochBasedRunner', 'IterBasedRunner'], or a "
            "subclass of one and of oadp.dp.engine.runners.Resumable in mmcv's RUNNERS"
        )
    by_epoch = (trainer.get('checkpoint_config') or {}).get('by_epoch', True)
    if find_runner(runner) is not None and not is_endless(runner) and not by_epoch:
        faults.append(
            'checkpoint_config.by_epoch is False, and a run cannot be resumed within an epoch'
        )
    if any(mode != 'train' for mode, _ in trainer.get('workflow', ())):
        faults.append(
            f"workflow is {trainer['workflow']}; expected 'train' only (`evaluation` evaluates)"
        )
    if not isinstance(trainer.get('seed'), int) or trainer['seed'] < 0:
        faults.append(
            f'seed is {trainer.get("seed")!r}; expected an integer of at least 0, as the order of the images '
            'and resuming depend on it'
        )
    rate = (trainer.get('optimizer') or {}).get('lr')
    if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        faults.append(f'optimizer.lr is {rate!r}; expected a learning rate above 0')
    faults += _wrong_counts(trainer)
    if faults:
        raise ValueError('trainer: ' + '; '.join(faults))
    return trainer


def is_endless(runner: str) -> bool:
    """Return whether a runner counts steps, not epochs."""
    kind = find_runner(runner)
    return kind is not None and issubclass(kind, IterBasedRunner)


def _wrong_counts(trainer: dict[str, Any]) -> Iterator[str]:
    """Yield the faults of the counts; floats with an integer value become integers in place."""
    for key, lowest in _COUNTS.items():
        section, _, name = key.partition('.')
        settings = trainer.get(section)
        if not isinstance(settings, dict) or settings.get(name) is None:
            continue
        value = settings[name]
        if isinstance(value, float) and value.is_integer():  # for example 4e4
            settings[name] = value = int(value)
        if type(value) is not int or not (value >= lowest or (key, value) == _NEVER_SAVE):
            yield f'{key} is {value!r}; expected an integer of at least {lowest}'


def shorten(trainer: dict[str, Any]) -> None:
    """Train for a few steps, with one checkpoint, evaluation and log entry each."""
    if is_endless(trainer['runner']['type']):
        interval = trainer['runner']['max_iters'] = _DRY_RUN_STEPS
    else:
        interval = trainer['runner']['max_epochs'] = 1
    trainer['log_config']['interval'] = 1
    for key in ('checkpoint_config', 'evaluation'):
        if trainer.get(key) is not None:
            trainer[key]['interval'] = interval
