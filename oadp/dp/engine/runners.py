"""Runners of mmcv, changed so that an interrupted training resumes exactly.

mmcv names a checkpoint by the steps done and then repeats the last of them when it resumes; it forgets
the fp16 loss scale of iteration-based runs; and it writes checkpoints under their final names.

The classes are in mmcv's registry ``RUNNERS``, under names that mmcv does not use.
"""

__all__ = [
    'Resumable',
    'ResumableEpochBasedRunner',
    'ResumableIterBasedRunner',
    'find_runner',
]

import pathlib
import time
from typing import Any

import mmcv
from mmcv.runner import RUNNERS, EpochBasedRunner, IterBasedRunner
from mmcv.runner.checkpoint import weights_to_cpu

from oadp.dp.engine.checkpoints import load_run, save_checkpoint
from oadp.utils.finite import refuse_non_finite

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
