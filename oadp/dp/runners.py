"""mmcv's runners and hooks, made to stop and go on without a difference.

mmcv names a checkpoint by the steps done, and then repeats the last of them when it resumes; forgets
the fp16 loss scale of iteration-based runs; and writes checkpoints under their final names.
"""

__all__ = ['RUNNERS', 'EvaluationHook', 'SeedHook']

import pathlib
import time
from typing import Any

import mmcv
import torch.distributed as dist
from mmcv.runner import EpochBasedRunner, EvalHook, Hook, IterBasedRunner
from mmcv.runner.checkpoint import weights_to_cpu
from torch.nn.modules.batchnorm import _BatchNorm

from ..runtime import World
from .checkpoints import load_run, save_checkpoint
from .inference import predict
from .loaders import seed_everything


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
        name = (filename_tmpl or self._FILE).format(self._done())
        save_checkpoint(pathlib.Path(out_dir) / name, data, link=create_symlink)

    def resume(self, checkpoint: str) -> None:
        """Take up a run where a checkpoint left it, this project's or the authors'.

        The learning rate is the config's, at the step: a checkpoint of a run on another number of
        processes does not bring its own.

        Raises:
            ValueError: a checkpoint without the state of a run, such as released weights, or of
                another config.
        """
        data = load_run(self.model.module, checkpoint, self.logger)
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

    def __init__(self, seed: int, world: World) -> None:
        self._seed = seed
        self._rank = world.rank

    def before_train_epoch(self, runner: Any) -> None:
        runner.data_loader.batch_sampler.epoch = runner.epoch

    def before_train_iter(self, runner: Any) -> None:
        seed_everything(self._seed, runner.iter, self._rank)


class EvaluationHook(EvalHook):
    """mmcv's, on any number of processes, each image once.

    Args:
        dataloader: this process's, of ``build_val_loader``.
        world: this process among the others.
        kwargs: mmcv's ``EvalHook``; ``metric`` and further ones go to ``dataset.evaluate``.
    """

    def __init__(self, dataloader: Any, world: World, **kwargs) -> None:
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
