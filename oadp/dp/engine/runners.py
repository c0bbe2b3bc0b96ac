"""mmcv's runners and hooks, made to stop and go on without a difference.

mmcv names a checkpoint by the steps done, and then repeats the last of them when it resumes; forgets
the fp16 loss scale of iteration-based runs; and writes checkpoints under their final names.
"""

__all__ = ['RUNNERS', 'EvaluationHook', 'FiniteLossHook', 'SeedHook']

import math
import pathlib
import time
from typing import Any

import mmcv
import torch.distributed as dist
from mmcv.runner import EpochBasedRunner, EvalHook, Hook, IterBasedRunner
from mmcv.runner.checkpoint import weights_to_cpu
from torch.nn.modules.batchnorm import _BatchNorm

from oadp.dp.data.loaders import seed_everything
from oadp.dp.engine.checkpoints import load_run, save_checkpoint
from oadp.dp.engine.predict import predict
from oadp.utils.finite import refuse_non_finite
from oadp.utils.runtime import ProcessInfo

_DIVERGED = 'the training diverged: take up an earlier checkpoint with a lower learning rate'


class _Resumable:
    """Stands before a runner of mmcv."""

    _FILE = ''
    """Name of a checkpoint, with the number of what was done."""
    _STEPS_AFTER_SAVED = 0
    """What to add to the number of the step in a checkpoint to get that of the next step."""

    def _done(self) -> int:
        raise NotImplementedError

    def save_checkpoint(
        self,
        out_dir: str,
        filename_tmpl: str | None = None,
        save_optimizer: bool = True,
        meta: dict | None = None,
        create_symlink: bool = True,
    ) -> None:
        """Write a checkpoint in mmcv's format, atomically; ``latest.pth`` links to the newest.

        Its keys are those of ``state_dict()``, without the text embeddings, which mmcv would save.
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
        """Take up a run where a checkpoint left it, this project's or the authors'.

        The learning rate is the config's, at the step: a checkpoint of a run on another number of
        processes does not bring its own.

        Raises:
            ValueError: a checkpoint without the state of a run, such as released weights, or of
                another config.
        """
        data = load_run(self.model.module, checkpoint, self.logger)
        refuse_non_finite(self.model.module.state_dict(), checkpoint, _DIVERGED)
        meta = data.get('meta', {})
        if 'optimizer' not in data or not {'epoch', 'iter'} <= set(meta):
            raise ValueError(
                f'{checkpoint}: holds weights but no run to resume; start from it with '
                '.trainer.load_from instead of .trainer.resume_from'
            )
        self._epoch = meta['epoch']
        self._iter = meta['iter'] + self._STEPS_AFTER_SAVED
        self.meta.update({k: meta[k] for k in ('fp16', 'hook_msgs') if k in meta})
        rates = [group['lr'] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(data['optimizer'])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group['initial_lr'] = rate
        self.logger.info('resumed %s: epoch %d, step %d', checkpoint, self.epoch, self.iter)


class _IterRunner(_Resumable, IterBasedRunner):
    _FILE = 'iter_{}.pth'
    _STEPS_AFTER_SAVED = 1  # saved after the step, before it is counted

    def _done(self) -> int:
        return self.iter + 1


class _EpochRunner(_Resumable, EpochBasedRunner):
    _FILE = 'epoch_{}.pth'

    def _done(self) -> int:
        return self.epoch + 1


RUNNERS = {'IterBasedRunner': _IterRunner, 'EpochBasedRunner': _EpochRunner}
"""By the name of mmcv's, which configs use."""


class SeedHook(Hook):
    """Makes a step's random numbers depend on the seed, the step and the process alone."""

    def __init__(self, seed: int, world: ProcessInfo) -> None:
        self._seed = seed
        self._rank = world.rank

    def before_train_epoch(self, runner: Any) -> None:
        runner.data_loader.batch_sampler.epoch = runner.epoch

    def before_train_iter(self, runner: Any) -> None:
        seed_everything(self._seed, runner.iter, self._rank)


class FiniteLossHook(Hook):
    """Stops a training at the first loss that is NaN or infinite, before the optimiser's step.

    The numbers are those that mmdet has read for the log, so that looking at them waits for no GPU.
    Overflowing gradients of fp16, which the loss scale answers, are no concern of it.
    """

    def after_train_iter(self, runner: Any) -> None:
        """Look at the losses of a step.

        Raises:
            ValueError: a loss is not finite; names it, the step and the images of this process.
        """
        values = {k: v for k, v in runner.outputs['log_vars'].items() if 'loss' in k}
        faulty = {k: v for k, v in values.items() if not math.isfinite(v)}
        if not faulty:
            return
        parts = {k: v for k, v in faulty.items() if k != 'loss'} or faulty
        losses = ', '.join(f'{k} is {v}' for k, v in parts.items())
        images = ', '.join(_file_names(runner.data_batch)) or 'unknown'
        raise ValueError(
            f'step {runner.iter + 1}: {losses}; images of this process: {images}. No checkpoint was '
            'written after the last one. Look at these images and their features, lower '
            '.trainer.optimizer.lr, or set .trainer.fp16:None'
        )


def _file_names(batch: Any) -> list[str]:
    metas = batch.get('img_metas') if isinstance(batch, dict) else None
    groups = getattr(metas, 'data', metas) or []  # a DataContainer has a list a GPU
    return [
        str(meta.get('ori_filename', meta.get('filename'))) for group in groups for meta in group
    ]


class EvaluationHook(EvalHook):
    """mmcv's, on any number of processes, each image once.

    Args:
        dataloader: this process's, of ``build_val_loader``.
        world: this process among the others.
        kwargs: mmcv's ``EvalHook``; ``metric`` and further ones go to ``dataset.evaluate``.
    """

    def __init__(self, dataloader: Any, world: ProcessInfo, **kwargs) -> None:
        super().__init__(dataloader, **kwargs)
        self._world = world

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
    """Give all processes the BatchNorm statistics of the first, which is the one that saves."""
    for module in detector.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            dist.broadcast(module.running_mean, 0)
            dist.broadcast(module.running_var, 0)
