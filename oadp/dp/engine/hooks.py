"""Hooks of mmcv for exact resuming, finite losses, and evaluation on any number of processes.

The classes are in mmcv's registry ``HOOKS``, under names that mmcv does not use.
"""

__all__ = ['EvaluationHook', 'FiniteLossHook', 'SeedHook']

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmcv.runner import HOOKS, EvalHook, Hook, get_dist_info
from mmdet.datasets import build_dataset as build_mmdet_dataset
from torch.nn.modules.batchnorm import _BatchNorm

from oadp.dp.data.loaders import StepSampler, build_val_loader, seed_everything
from oadp.dp.engine.predict import predict
from oadp.utils.config import to_plain
from oadp.utils.runtime import ProcessInfo


def _this_process() -> ProcessInfo:
    """Return this process of a run that mmdet's tools started."""
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
