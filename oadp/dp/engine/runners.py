"""Runners and hooks of mmcv, changed so that an interrupted training resumes exactly.

mmcv names a checkpoint by the steps done and then repeats the last of them when it resumes; it forgets
the fp16 loss scale of iteration-based runs; and it writes checkpoints under their final names.

The classes are in mmcv's registries ``RUNNERS`` and ``HOOKS``, under names that mmcv does not use.
"""

__all__ = [
    'EvaluationHook',
    'FiniteLossHook',
    'Resumable',
    'ResumableEpochBasedRunner',
    'ResumableIterBasedRunner',
    'SeedHook',
    'find_runner',
]

import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import mmcv
import torch.distributed as dist
from mmcv.runner import (
    HOOKS,
    RUNNERS,
    EpochBasedRunner,
    EvalHook,
    Hook,
    IterBasedRunner,
    get_dist_info,
)
from mmcv.runner.checkpoint import weights_to_cpu
from mmdet.datasets import build_dataset as build_mmdet_dataset
from torch.nn.modules.batchnorm import _BatchNorm

from oadp.dp.data.loaders import StepSampler, build_val_loader, seed_everything
from oadp.dp.engine.checkpoints import load_run, save_checkpoint
from oadp.dp.engine.predict import predict
from oadp.utils.config import to_plain
from oadp.utils.finite import refuse_non_finite
from oadp.utils.runtime import ProcessInfo

_DIVERGED = 'the training diverged: resume an earlier checkpoint with a lower learning rate'


class Resumable:
    """Save and resume checkpoints without repeating or losing a step.

    A mixin, listed before a runner of mmcv among the bases of a class.
    """

    _FILE = ''
    """Template of a checkpoint's file name, filled in with the steps or epochs done."""
    _STEPS_AFTER_SAVED = 0
    """What to add to a checkpoint's step number to get the number of the next step."""

    model: Any
    meta: Any
    optimizer: Any
    logger: Any
    epoch: int
    iter: int

    def _done(self) -> int:
        """Return how many steps (iteration-based) or epochs (epoch-based) are done."""
        raise NotImplementedError

    def save_checkpoint(
        self,
        out_dir: str,
        filename_tmpl: str | None = None,
        save_optimizer: bool = True,
        meta: dict | None = None,
        create_symlink: bool = True,
    ) -> None:
        """Write a checkpoint in mmcv's format, atomically, and link ``latest.pth`` to it.

        Its keys are those of ``state_dict()``: the text embeddings, which mmcv would save as well, are
        not among them.

        Args:
            out_dir: the folder to write to.
            filename_tmpl: template of the file name; by default ``iter_{}.pth`` or ``epoch_{}.pth``.
            save_optimizer: whether to save the state of the optimizer, which resuming needs.
            meta: entries to add to the runner's ``meta``.
            create_symlink: whether to link ``latest.pth`` to the file.

        Raises:
            ValueError: a weight is NaN or infinite. Nothing is written.
        """
        model = self.model.module
        data = dict(
            meta={
                **self.meta,
                **(meta or {}),
                'epoch': self.epoch + 1,
                'iter': self.iter,
                'mmcv_version': mmcv.__version__,
                'time': time.asctime(),
                'CLASSES': getattr(model, 'CLASSES', None),
            },
            state_dict=weights_to_cpu(model.state_dict()),
        )
        if save_optimizer:
            data['optimizer'] = self.optimizer.state_dict()
        path = pathlib.Path(out_dir, (filename_tmpl or self._FILE).format(self._done()))
        refuse_non_finite(data['state_dict'], path, f'not written: {_DIVERGED}')
        save_checkpoint(path, data, link=create_symlink)

    def resume(self, checkpoint: str) -> None:
        """Resume a run from its checkpoint, written by this project or by the authors' code.

        The learning rate is that of the config at the checkpoint's step, even if the checkpoint
        comes from a run with another number of processes.

        Raises:
            ValueError: the checkpoint has no optimizer state, such as released weights, or belongs to
                another config.
        """
        data = load_run(self.model.module, checkpoint, self.logger)
        refuse_non_finite(self.model.module.state_dict(), checkpoint, _DIVERGED)
        meta = data.get('meta', {})
        if 'optimizer' not in data or not {'epoch', 'iter'} <= set(meta):
            raise ValueError(
                f'{checkpoint}: expected the checkpoint of a run, found weights alone; start from them '
                'with .trainer.load_from instead of .trainer.resume_from'
            )
        self._epoch = meta['epoch']
        self._iter = meta['iter'] + self._STEPS_AFTER_SAVED
        self.meta.update({k: meta[k] for k in ('fp16', 'hook_msgs') if k in meta})
        rates = [group['lr'] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(data['optimizer'])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group['initial_lr'] = rate
        self.logger.info('resumed %s: epoch %d, step %d', checkpoint, self.epoch, self.iter)


@RUNNERS.register_module()
class ResumableIterBasedRunner(Resumable, IterBasedRunner):
    """Train for a number of steps; checkpoints are ``iter_{steps}.pth``."""

    _FILE = 'iter_{}.pth'
    _STEPS_AFTER_SAVED = 1  # saved after the step, before it is counted

    def _done(self) -> int:
        return self.iter + 1


@RUNNERS.register_module()
class ResumableEpochBasedRunner(Resumable, EpochBasedRunner):
    """Train for a number of epochs; checkpoints are ``epoch_{epochs}.pth``."""

    _FILE = 'epoch_{}.pth'

    def _done(self) -> int:
        return self.epoch + 1


_REPLACED = {
    'IterBasedRunner': ResumableIterBasedRunner,
    'EpochBasedRunner': ResumableEpochBasedRunner,
}
"""Name of a runner of mmcv to the class that ``oadp.dp.train`` uses for it."""


def find_runner(name: Any) -> type | None:
    """Return the class of ``trainer.runner.type``; None if there is no such resumable runner.

    Args:
        name: ``IterBasedRunner`` or ``EpochBasedRunner``, for which the resumable class is returned, or
            a name in mmcv's ``RUNNERS`` of a subclass of ``Resumable`` and of one of these two.
    """
    kind = _REPLACED.get(name) or RUNNERS.get(str(name))
    is_known = isinstance(kind, type) and issubclass(kind, Resumable)
    return kind if is_known and issubclass(kind, (IterBasedRunner, EpochBasedRunner)) else None


def _this_process() -> ProcessInfo:
    """Return this process of a run that mmdet's tools started."""
    import torch

    rank, size = get_dist_info()
    is_cuda = torch.cuda.is_available()
    device = torch.device('cuda', torch.cuda.current_device()) if is_cuda else torch.device('cpu')
    return ProcessInfo(rank=rank, local_rank=device.index or 0, size=size, device=device)


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed each step by the run's seed, the number of the step and the process's rank.

    Args:
        seed: the run's seed; None takes it from ``runner.meta['seed']``, where mmdet's
            ``tools/train.py`` puts that of its ``--seed``.
        world: this process; None finds it.
    """

    def __init__(self, seed: int | None = None, world: ProcessInfo | None = None) -> None:
        self._seed = seed
        self._rank = get_dist_info()[0] if world is None else world.rank

    def before_run(self, runner: Any) -> None:
        """Look up the seed.

        Raises:
            ValueError: neither the hook nor the runner has a seed.
        """
        if self._seed is None:
            self._seed = (runner.meta or {}).get('seed')
        if self._seed is None:
            raise ValueError(
                "SeedHook: expected a seed, found neither SeedHook(seed=…) nor runner.meta['seed']; "
                "write dict(type='SeedHook', seed=0)"
            )

    def before_train_epoch(self, runner: Any) -> None:
        """Let the sampler of :func:`oadp.dp.data.loaders.build_train_loader` know the epoch."""
        sampler = runner.data_loader.batch_sampler
        if isinstance(sampler, StepSampler):
            sampler.epoch = runner.epoch

    def before_train_iter(self, runner: Any) -> None:
        """Seed Python's, NumPy's and torch's generators."""
        assert self._seed is not None, 'before_run looks it up'
        seed_everything(self._seed, runner.iter, self._rank)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a training at the first loss that is NaN or infinite, before the optimizer's step.

    The values are those that mmdet has already copied from the GPU for the log. Gradients that overflow
    in fp16 are not checked: the loss scale handles them.
    """

    def after_train_iter(self, runner: Any) -> None:
        """Check the losses of a step.

        Raises:
            ValueError: a loss is not finite. The message names it, the step and the images of this
                process.
        """
        values = {k: v for k, v in runner.outputs['log_vars'].items() if 'loss' in k}
        faulty = {k: v for k, v in values.items() if not math.isfinite(v)}
        if not faulty:
            return
        parts = {k: v for k, v in faulty.items() if k != 'loss'} or faulty
        losses = ', '.join(f'{k} is {v}' for k, v in parts.items())
        images = ', '.join(_file_names(runner.data_batch)) or 'unknown'
        raise ValueError(
            f'step {runner.iter + 1}: {losses}; images of this process: {images}. The newest '
            'checkpoint is from before this step. Check these images and their features, lower '
            '.trainer.optimizer.lr, or set .trainer.fp16:None'
        )


def _file_names(batch: Any) -> list[str]:
    metas = batch.get('img_metas') if isinstance(batch, dict) else None
    groups = getattr(metas, 'data', metas) or []  # a DataContainer has one list per GPU
    return [
        str(meta.get('ori_filename', meta.get('filename'))) for group in groups for meta in group
    ]


@HOOKS.register_module()
class EvaluationHook(EvalHook):
    """Evaluate with any number of processes, each image once.

    Args:
        dataloader: this process's loader from :func:`oadp.dp.data.loaders.build_val_loader`, or, in a
            config, ``dict(samples_per_gpu=1, workers_per_gpu=2, dataset=dict(type='OV_COCO', …))``.
        world: this process; None finds it.
        kwargs: arguments of mmcv's ``EvalHook``; further ones, such as ``metric``, go to
            ``dataset.evaluate``.
    """

    def __init__(self, dataloader: Any, world: ProcessInfo | None = None, **kwargs: Any) -> None:
        self._world = _this_process() if world is None else world
        if isinstance(dataloader, Mapping):
            options = to_plain(dataloader)
            dataset = build_mmdet_dataset({'test_mode': True, **options['dataset']})
            dataloader = build_val_loader(dataset, options, self._world)
        super().__init__(dataloader, **kwargs)

    def _do_evaluate(self, runner: Any) -> None:
        detector = runner.model.module
        if self._world.is_distributed:
            _share_statistics(detector)
        results = predict(detector, self.dataloader, self._world)
        if results is not None:
            runner.log_buffer.output['eval_iter_num'] = len(results)
            score = self.evaluate(runner, results)
            if self.save_best and score:
                self._save_ckpt(runner, score)


def _share_statistics(detector: Any) -> None:
    """Copy the BatchNorm statistics of the first process, which saves, to all others."""
    for module in detector.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            assert module.running_mean is not None and module.running_var is not None
            dist.broadcast(module.running_mean, 0)
            dist.broadcast(module.running_var, 0)
