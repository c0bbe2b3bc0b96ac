"""Several processes: what mmcv's wrappers need to run on the torch of today, and on the CPU."""

__all__ = ['adapt_parallel', 'sync_bn_to_bn', 'wrap_distributed']

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def adapt_parallel() -> None:
    """Mend mmcv's data-parallel wrappers for torch 2.1 and later.

    - ``MMDistributedDataParallel._run_ddp_forward`` reads an attribute that torch 2.1 dropped,
      together with the experiment that it switched on. Older torch sets it on each instance, which
      goes before this default of the class.
    - mmcv asks torch for a copy stream by the number of a GPU, where torch now takes a device.
    """
    import mmcv.parallel._functions as functions
    from mmcv.parallel.distributed import MMDistributedDataParallel

    MMDistributedDataParallel._use_replicated_tensor_module = False
    functions._get_stream = _copy_stream


@functools.cache
def _copy_stream(index: int) -> torch.cuda.Stream:
    """The stream on which a GPU's batches are copied from the host."""
    return torch.cuda.Stream(index)


@functools.cache
def _cpu_wrapper() -> type:
    """The class is made at its first use, so that importing this module does not import mmcv."""
    from mmcv.parallel.distributed import MMDistributedDataParallel
    from mmcv.parallel.scatter_gather import scatter_kwargs

    class CPUDistributedDataParallel(MMDistributedDataParallel):
        """mmcv's wrapper unpacks a batch's containers only on the way to a GPU; this does always.

        ``model(**data)``, ``train_step`` and ``val_step`` take what a mmdet data loader yields.
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
    """mmcv's ``MMDistributedDataParallel``, on CUDA or, with gloo, on the CPU.

    mmdet's ``build_ddp`` refuses the CPU. A process group must be up.

    Args:
        model: a detector with ``train_step``.
        device: this process's device.
        find_unused_parameters: for models of which a step may leave parameters without gradient.
        broadcast_buffers: whether the first process's buffers (BatchNorm's means) rule each step;
            mmdet's default is not.
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
    """A copy of a model's config with ``BN`` for ``SyncBN``, which needs a GPU.

    Both have the same parameters under the same names, so checkpoints fit either. Use it where
    there is no GPU; what is not a container is handed through as it is.

    >>> sync_bn_to_bn(dict(norm_cfg=dict(type='SyncBN', requires_grad=True)))
    {'norm_cfg': {'type': 'BN', 'requires_grad': True}}
    """
    if isinstance(config, Mapping):
        copied = {k: sync_bn_to_bn(v) for k, v in config.items()}
        if copied.get('type') == 'SyncBN':
            copied['type'] = 'BN'
        return copied if type(config) is dict else type(config)(copied)
    if isinstance(config, (list, tuple)):
        return type(config)(sync_bn_to_bn(v) for v in config)
    return config
