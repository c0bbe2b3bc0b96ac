"""A training run of a config: model, data, optimiser and mmcv's runner put together."""

__all__ = ['Run', 'prepare']

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmcv.parallel import MMDataParallel
from mmcv.runner import Fp16OptimizerHook, IterBasedRunner, build_optimizer
from mmcv.utils import get_logger as get_mmcv_logger
from torch import nn
from torch.utils.data import DataLoader

from oadp.compat import wrap_distributed
from oadp.dp.build import build_detector
from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.data.datasets import build_dataset
from oadp.dp.data.loaders import build_train_loader, build_val_loader, seed_everything
from oadp.dp.engine.checkpoints import is_switched_on, load_weights
from oadp.dp.engine.runners import EvaluationHook, FiniteLossHook, SeedHook, find_runner
from oadp.dp.models.distillation import untrained_heads
from oadp.utils import runtime
from oadp.utils.config import to_plain
from oadp.utils.runtime import World

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
"""Keys of ``trainer`` that are numbers of something, and the least that they may be."""

_NEVER_SAVE = ('checkpoint_config.interval', -1)  # mmcv's


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything a training run needs; ``run()`` starts it."""

    runner: Any
    loader: DataLoader
    workflow: list[tuple[str, int]]

    def run(self) -> None:
        """Train to the end, from where the runner is."""
        self.runner.run([self.loader], self.workflow)


def prepare(
    config: Mapping[str, Any], work_dir: pathlib.Path, world: World, logger: logging.Logger
) -> Run:
    """Build a training run of a config, ready to start.

    Args:
        config: a whole loaded config. Not changed.
        work_dir: where checkpoints and logs go.
        world: this process among the others; the process group must be up.
        logger: for the text log.

    Raises:
        ValueError: keys are missing or contradict each other; all of them are listed.
        FileNotFoundError: annotations, prompts or the checkpoint to start from are not there.
    """
    import_custom_modules(config)
    trainer = _checked(config)
    if runtime.dry_run():
        _shorten(trainer)
    endless = _is_endless(trainer['runner']['type'])

    dataset = build_dataset(config, 'train')
    loader = build_train_loader(dataset, trainer['dataloader'], world, trainer['seed'], endless)
    model = _build_model(config, trainer, world, logger)
    runner = _build_runner(trainer, model, work_dir, world, logger)
    runner.register_hook(SeedHook(trainer['seed'], world), priority='VERY_HIGH')
    runner.register_hook(FiniteLossHook(), priority='VERY_HIGH')
    if trainer.get('evaluation') is not None:
        runner.register_hook(_build_evaluation(config, trainer, world, endless), priority='LOW')
    if trainer.get('resume_from'):
        runner.resume(trainer['resume_from'])
        loader.batch_sampler.first_step = runner.iter
    return Run(runner, loader, trainer['workflow'])


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    trainer = to_plain(config['trainer'])
    faults = [f'no {key}' for key in _REQUIRED if key not in trainer]
    runner = trainer.get('runner', {}).get('type')
    if find_runner(runner) is None:
        faults.append(
            f"runner.type is {runner!r}; choose from ['EpochBasedRunner', 'IterBasedRunner'], or a "
            "subclass of one and of oadp.dp.engine.runners.Resumable in mmcv's RUNNERS"
        )
    by_epoch = (trainer.get('checkpoint_config') or {}).get('by_epoch', True)
    if find_runner(runner) is not None and not _is_endless(runner) and not by_epoch:
        faults.append('checkpoint_config.by_epoch is False, and an epoch cannot be resumed within')
    if any(mode != 'train' for mode, _ in trainer.get('workflow', ())):
        faults.append(
            f"workflow is {trainer['workflow']}; only 'train' is known (`evaluation` evaluates)"
        )
    if not isinstance(trainer.get('seed'), int):
        faults.append(
            f'seed is {trainer.get("seed")!r}; it must be an integer, as the order of the images '
            'and resuming depend on it'
        )
    faults += _wrong_counts(trainer)
    if faults:
        raise ValueError('trainer: ' + '; '.join(faults))
    return trainer


def _is_endless(runner: str) -> bool:
    """Return whether a runner counts steps, not epochs."""
    kind = find_runner(runner)
    return kind is not None and issubclass(kind, IterBasedRunner)


def _wrong_counts(trainer: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with numbers that must be whole; whole floats become integers in place."""
    for key, lowest in _COUNTS.items():
        section, _, name = key.partition('.')
        settings = trainer.get(section)
        if not isinstance(settings, dict) or settings.get(name) is None:
            continue
        value = settings[name]
        if isinstance(value, float) and value.is_integer():  # 4e4 is a usual way to write a number
            settings[name] = value = int(value)
        if type(value) is not int or not (value >= lowest or (key, value) == _NEVER_SAVE):
            yield f'{key} is {value!r}; expected a whole number of at least {lowest}'


def _shorten(trainer: dict[str, Any]) -> None:
    """A few steps, and one of everything that happens at intervals."""
    if _is_endless(trainer['runner']['type']):
        interval = trainer['runner']['max_iters'] = _DRY_RUN_STEPS
    else:
        interval = trainer['runner']['max_epochs'] = 1
    trainer['log_config']['interval'] = 1
    for key in ('checkpoint_config', 'evaluation'):
        if trainer.get(key) is not None:
            trainer[key]['interval'] = interval


def _build_model(
    config: Mapping[str, Any], trainer: Mapping[str, Any], world: World, logger: logging.Logger
) -> nn.Module:
    seed_everything(trainer['seed'])
    model = build_detector(config)
    for key, head in untrained_heads(model).items():
        logger.warning(
            'model.%s: no loss trains it, so it stays at its initial weights; None leaves it out',
            key,
        )
        head.requires_grad_(False)  # several processes wait for a gradient of what requires one
    # mmcv lists the initialisation of each parameter.
    get_mmcv_logger('mmcv').setLevel(logging.WARNING)
    _check_pretrained(model, logger)
    model.init_weights()
    _load_initial(model, trainer, logger)
    if world.is_distributed:
        return wrap_distributed(
            model,
            world.device,
            find_unused_parameters=trainer.get('find_unused_parameters', False),
        )
    if world.device.type == 'cuda':
        return MMDataParallel(model.to(world.device), device_ids=[world.device.index])
    return MMDataParallel(model)


def _check_pretrained(model: nn.Module, logger: logging.Logger) -> None:
    """Say what is missing where a part is to start from a file, before mmcv looks for it."""
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        path = init.get('checkpoint') if isinstance(init, Mapping) else None
        if path is None or '://' in path or pathlib.Path(path).is_file():
            continue
        if not runtime.dry_run():
            raise FileNotFoundError(
                f'{path}: no such file, and {type(module).__name__} is to start from it (init_cfg); '
                "python -m oadp.pretrained resnet50 downloads torchvision's; the README, "
                '"Pretrained Models", says where others are'
            )
        logger.warning('%s is not there: this dry run starts from random weights', path)
        module.init_cfg = None


def _load_initial(model: nn.Module, trainer: Mapping[str, Any], logger: logging.Logger) -> None:
    path = trainer.get('load_from')
    if not path or trainer.get('resume_from'):
        return
    if pathlib.Path(path).is_file():
        load_weights(model, path, skip_misfits=True, logger=logger)
    elif runtime.dry_run():
        logger.warning('%s is not there: this dry run starts from random weights', path)
    else:
        raise FileNotFoundError(
            f"{path}: no such checkpoint to start from; where to get SoCo's is in the README, "
            '"Pretrained Models", and one under work_dirs comes from a training of ours; '
            '--override .trainer.load_from:None starts from random weights'
        )


def _scaled_optimizer(
    trainer: Mapping[str, Any], world: World, logger: logging.Logger
) -> dict[str, Any]:
    """The optimiser's config, its learning rate proportional to the images of a step."""
    optimizer = trainer['optimizer']
    scaling = trainer.get('auto_scale_lr') or {}
    images = world.size * trainer['dataloader']['samples_per_gpu']
    if not scaling.get('enable', False):
        logger.info('%d images a step; learning rate %g as it is', images, optimizer['lr'])
        return optimizer
    rate = optimizer['lr'] * images / scaling['base_batch_size']
    logger.info(
        '%d images a step; learning rate %g, scaled from %g for %d (trainer.auto_scale_lr)',
        images,
        rate,
        optimizer['lr'],
        scaling['base_batch_size'],
    )
    return {**optimizer, 'lr': rate}


def _build_runner(
    trainer: Mapping[str, Any],
    model: nn.Module,
    work_dir: pathlib.Path,
    world: World,
    logger: logging.Logger,
) -> Any:
    options = dict(trainer['runner'])
    kind = find_runner(options.pop('type'))
    assert kind is not None, '_checked looks it up'
    runner: Any = kind(
        model=model,
        optimizer=build_optimizer(model, _scaled_optimizer(trainer, world, logger)),
        work_dir=str(work_dir),
        logger=logger,
        meta=dict(exp_name=work_dir.name, seed=trainer['seed']),
        **options,
    )
    optimizer_config: Any = trainer['optimizer_config']
    fp16 = trainer.get('fp16')
    if is_switched_on(fp16) and world.device.type == 'cuda':
        optimizer_config = Fp16OptimizerHook(
            **(optimizer_config or {}),
            **({} if fp16 is True else fp16),
            distributed=world.is_distributed,
        )
    elif is_switched_on(fp16):
        logger.info('trainer.fp16 is for GPUs; this run computes in float32')
    runner.register_training_hooks(
        trainer['lr_config'],
        optimizer_config,
        trainer['checkpoint_config'],
        trainer['log_config'],
        trainer.get('momentum_config'),
        custom_hooks_config=trainer.get('custom_hooks'),
    )
    return runner


def _build_evaluation(
    config: Mapping[str, Any], trainer: Mapping[str, Any], world: World, endless: bool
) -> EvaluationHook:
    dataset = build_dataset(config, 'val')
    if 'segm' in trainer['evaluation'].get('metric', ()):  # a name, or several
        dataset.require_masks()
    loader = build_val_loader(dataset, to_plain(config['validator']['dataloader']), world)
    return EvaluationHook(loader, world, **{'by_epoch': not endless, **trainer['evaluation']})
