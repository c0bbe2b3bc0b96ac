"""Build a training run from a config: model, data, optimizer and mmcv's runner."""

__all__ = ['Run', 'prepare']

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmcv.parallel import MMDataParallel
from mmcv.runner import Fp16OptimizerHook, build_optimizer
from mmcv.utils import get_logger as get_mmcv_logger
from torch import nn
from torch.utils.data import DataLoader

from oadp.compat import wrap_distributed
from oadp.dp.build import build_detector
from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.data.build import build_dataset
from oadp.dp.data.loaders import build_train_loader, build_val_loader, seed_everything
from oadp.dp.engine.checkpoints import is_switched_on, load_weights
from oadp.dp.engine.hooks import EvaluationHook, FiniteLossHook, SeedHook
from oadp.dp.engine.runners import find_runner
from oadp.dp.engine.trainer_config import checked_trainer, is_endless, shorten
from oadp.dp.models.distillation import untrained_heads
from oadp.utils import runtime
from oadp.utils.runtime import ProcessInfo


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
    trainer = checked_trainer(config)
    if runtime.dry_run():
        shorten(trainer)
    endless = is_endless(trainer['runner']['type'])

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
    assert kind is not None, 'checked_trainer looks it up'
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
