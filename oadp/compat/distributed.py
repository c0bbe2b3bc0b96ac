"""Adapt mmcv's data-parallel wrappers to current torch and to the CPU."""

__all__ = ['adapt_parallel', 'sync_bn_to_bn', 'wrap_distributed']

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def adapt_parallel() -> None:
    """Adapt mmcv's data-parallel wrappers to torch 2.1 and later.

    - ``MMDistributedDataParallel._run_ddp_forward`` reads an attribute that torch 2.1
      removed. Older torch sets it on each instance, which takes precedence over this class attribute.
    - mmcv passes the index of a GPU to torch to get a copy stream; torch now expects a device.
    """
    import mmcv.parallel._functions as functions
    from mmcv.parallel.distributed import MMDistributedDataParallel

    MMDistributedDataParallel._use_replicated_tensor_module = False
    functions._get_stream = _copy_stream


@functools.cache
def _copy_stream(index: int) -> torch.cuda.Stream:
    """Return the stream on which batches are copied from the host to a GPU."""
    return torch.cuda.Stream(index)


@functools.cache
def _cpu_wrapper() -> type:
    """Return the wrapper class; created at first use, as importing this module must not import mmcv."""
    from mmcv.parallel.distributed import MMDistributedDataParallel
    from mmcv.parallel.scatter_gather import scatter_kwargs

    class CPUDistributedDataParallel(MMDistributedDataParallel):
        """Wrapper that unpacks a batch's containers on the CPU, which mmcv's does only for GPUs.

        ``model(**data)``, ``train_step`` and ``val_step`` accept the batches of mmdet's data loaders.
        """

        def _unpack(self, inputs: tuple, kwargs: dict) -> tuple[tuple, dict]:
            inputs, kwargs = scatter_kwargs(inputs, kwargs, [-1])  # -1 is the CPU
            return (inputs[0] if inputs else ()), (kwargs[0] if kwargs else {})

        def train_step(self, *inputs, **kwargs):
            inputs, kwargs = self._unpack(inputs, kwargs)
            return super().train_step(*inputs, **kwargs)

        def val_step(self, *inputs, **kwargs):
            inputs, kwargs = self._unpack(inputs, kwargs)
            return super().val_step(*inputs, **kwargs)

        def _run_ddp_forward(self, *inputs, **kwargs):
            inputs, kwargs = self._unpack(inputs, kwargs)
            return super()._run_ddp_forward(*inputs, **kwargs)

    return CPUDistributedDataParallel


def wrap_distributed(
    model: nn.Module,
    device: torch.device,
    *,
    find_unused_parameters: bool = False,
    broadcast_buffers: bool = False,
) -> nn.Module:
    """Wrap a model in mmcv's ``MMDistributedDataParallel``, on CUDA or, with gloo, on the CPU.

    mmdet's ``build_ddp`` refuses the CPU. The process group must be initialized.

    Args:
        model: a detector with ``train_step``.
        device: this process's device.
        find_unused_parameters: True for models in which a step may leave parameters without gradient.
        broadcast_buffers: whether each step starts by copying the first process's buffers (such as
            BatchNorm's means) to the others; False is mmdet's default.
    """
    from mmcv.parallel.distributed import MMDistributedDataParallel

    adapt_parallel()
    options: dict[str, Any] = dict(
        find_unused_parameters=find_unused_parameters, broadcast_buffers=broadcast_buffers
    )
    if device.type == 'cuda':
        return MMDistributedDataParallel(
            model.to(device), device_ids=[device.index or 0], **options
        )
    return _cpu_wrapper()(model.to(device), **options)


def sync_bn_to_bn(config: Any) -> Any:
    """Return a copy of a model's config with ``BN`` in place of ``SyncBN``, which needs a GPU.

    Both have the same parameters under the same names, so checkpoints fit both. Values that are not
    containers are returned unchanged.

    >>> sync_bn_to_bn(dict(norm_cfg=dict(type='SyncBN', requires_grad=True)))
    {'norm_cfg': {'type': 'BN', 'requires_grad': True}}
    """
    if isinstance(config, Mapping):
        copied = {k: sync_bn_to_bn(v) for k, v in config.items()}
        if copied.get('type') == 'SyncBN':
            copied['type'] = 'BN'
        kind: Any = type(config)
        return copied if kind is dict else kind(copied)
    if isinstance(config, (list, tuple)):
        return type(config)(sync_bn_to_bn(v) for v in config)
    return config
