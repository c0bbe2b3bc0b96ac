"""Build a training run from a config: model, data, optimizer and mmcv's runner."""

__all__ = ['Run', 'prepare']

import dataclasses
import logging
import math
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
from oadp.dp.data.build import build_dataset
from oadp.dp.data.loaders import build_train_loader, build_val_loader, seed_everything
from oadp.dp.engine.checkpoints import is_switched_on, load_weights
from oadp.dp.engine.runners import EvaluationHook, FiniteLossHook, SeedHook, find_runner
from oadp.dp.models.distillation import untrained_heads
from oadp.utils import runtime
from oadp.utils.config import section, to_plain
from oadp.utils.runtime import ProcessInfo

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


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run that is ready to start with ``run()``."""

    runner: Any
    loader: DataLoader
    workflow: list[tuple[str, int]]

    def run(self) -> None:
        """Train to the end, from the current step of the runner."""
        self.runner.run([self.loader], self.workflow)


def prepare(
    config: Mapping[str, Any], work_dir: pathlib.Path, world: ProcessInfo, logger: logging.Logger
) -> Run:
    """Build a training run from a config.

    Args:
        config: a whole config, as a ``todd.Config`` or another mapping. It is not modified.
        work_dir: the folder for checkpoints and logs.
        world: this process among the others; the process group must be up.
        logger: the logger of the run.

    Raises:
        ValueError: keys are missing, invalid or contradict each other; the message lists all of
            them.
        FileNotFoundError: annotations, prompts or the initial checkpoint are missing.
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
    trainer = to_plain(section(config, '.trainer'))
    faults = [f'no {key}' for key in _REQUIRED if key not in trainer]
    runner = trainer.get('runner', {}).get('type')
    if find_runner(runner) is None:
        faults.append(
            f"runner.type is {runner!r}; choose from ['EpochBasedRunner', 'IterBasedRunner'], or a "
            "subclass of one and of oadp.dp.engine.runners.Resumable in mmcv's RUNNERS"
        )
    by_epoch = (trainer.get('checkpoint_config') or {}).get('by_epoch', True)
    if find_runner(runner) is not None and not _is_endless(runner) and not by_epoch:
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


def _is_endless(runner: str) -> bool:
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


def _shorten(trainer: dict[str, Any]) -> None:
    """Train for a few steps, with one checkpoint, evaluation and log entry each."""
    if _is_endless(trainer['runner']['type']):
        interval = trainer['runner']['max_iters'] = _DRY_RUN_STEPS
    else:
        interval = trainer['runner']['max_epochs'] = 1
    trainer['log_config']['interval'] = 1
    for key in ('checkpoint_config', 'evaluation'):
        if trainer.get(key) is not None:
            trainer[key]['interval'] = interval


def _build_model(
    config: Mapping[str, Any],
    trainer: Mapping[str, Any],
    world: ProcessInfo,
    logger: logging.Logger,
) -> nn.Module:
    seed_everything(trainer['seed'])
    model = build_detector(config)
    for key, head in untrained_heads(model).items():
        logger.warning(
            'model.%s: no loss trains it, so it keeps its initial weights; set it to None to omit it',
            key,
        )
        head.requires_grad_(False)  # distributed training waits for all gradients
    # mmcv logs the initialization of each parameter.
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
    """Check that the files from which parts are initialized exist, before mmcv reads them.

    Raises:
        FileNotFoundError: a file is missing; in ``DRY_RUN``, only a warning is logged.
    """
    modules: Iterator[Any] = model.modules()
    for module in modules:
        init = getattr(module, 'init_cfg', None)
        path = init.get('checkpoint') if isinstance(init, Mapping) else None
        if path is None or '://' in path or pathlib.Path(path).is_file():
            continue
        if not runtime.dry_run():
            raise FileNotFoundError(
                f'{path}: no such file, and {type(module).__name__} is initialized from it (init_cfg); '
                "python -m oadp.pretrained resnet50 downloads torchvision's; for others, see the "
                'README, "Pretrained models"'
            )
        logger.warning('%s: no such file; this dry run starts from random weights', path)
        module.init_cfg = None


def _load_initial(model: nn.Module, trainer: Mapping[str, Any], logger: logging.Logger) -> None:
    path = trainer.get('load_from')
    if not path or trainer.get('resume_from'):
        return
    if pathlib.Path(path).is_file():
        load_weights(model, path, skip_misfits=True, logger=logger)
    elif runtime.dry_run():
        logger.warning('%s: no such file; this dry run starts from random weights', path)
    else:
        raise FileNotFoundError(
            f"{path}: no such checkpoint to start from; for SoCo's, see the README, "
            '"Pretrained models"; one under work_dirs is the result of another training run; '
            '--override .trainer.load_from:None starts from random weights'
        )


def _scaled_optimizer(
    trainer: Mapping[str, Any], world: ProcessInfo, logger: logging.Logger
) -> dict[str, Any]:
    """Return the optimizer's config, with the learning rate scaled by the images per step."""
    optimizer = trainer['optimizer']
    scaling = trainer.get('auto_scale_lr') or {}
    images = world.size * trainer['dataloader']['samples_per_gpu']
    if not scaling.get('enable', False):
        logger.info('%d images per step; learning rate %g, not scaled', images, optimizer['lr'])
        return optimizer
    rate = optimizer['lr'] * images / scaling['base_batch_size']
    logger.info(
        '%d images per step; learning rate %g, scaled from %g for %d (trainer.auto_scale_lr)',
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
    world: ProcessInfo,
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
    fp16: Any = trainer.get('fp16')
    if is_switched_on(fp16) and world.device.type == 'cuda':
        optimizer_config = Fp16OptimizerHook(
            **(optimizer_config or {}),
            **({} if fp16 is True else fp16),
            distributed=world.is_distributed,
        )
    elif is_switched_on(fp16):
        logger.info('trainer.fp16 has an effect on GPUs only; this run computes in float32')
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
    config: Mapping[str, Any], trainer: Mapping[str, Any], world: ProcessInfo, endless: bool
) -> EvaluationHook:
    dataset = build_dataset(config, 'val')
    if 'segm' in trainer['evaluation'].get('metric', ()):  # a name, or several
        dataset.require_masks()
    loader = build_val_loader(dataset, config['validator']['dataloader'], world)
    return EvaluationHook(loader, world, **{'by_epoch': not endless, **trainer['evaluation']})
