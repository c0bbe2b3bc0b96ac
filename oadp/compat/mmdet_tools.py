"""What mmdet's tools need to run on the Python of today, and without a GPU."""

__all__ = ['adapted']

import collections
import collections.abc
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@contextlib.contextmanager
def adapted() -> Iterator[None]:
    """Run mmdet's tools inside of this block; afterwards everything is as before.

    - ``browse_dataset.py`` imports ``Sequence`` from ``collections``, where it was until Python 3.9.
    - ``benchmark.py`` moves the detector to a GPU, synchronizes with it, and joins an NCCL process
      group. Without a GPU the detector stays on the CPU, and the group uses gloo.
    """
    with contextlib.ExitStack() as stack:
        if not hasattr(collections, 'Sequence'):
            _replace(stack, collections, 'Sequence', collections.abc.Sequence)
        if not torch.cuda.is_available():
            _adapt_to_cpu(stack)
        yield


def _adapt_to_cpu(stack: contextlib.ExitStack) -> None:
    import mmcv.cnn.utils
    import mmcv.parallel
    import mmcv.runner

    from oadp.compat.distributed import wrap_distributed

    def init_dist(launcher: str, backend: str = 'gloo', **options: Any) -> None:
        """Join a group of gloo, whichever backend the config names."""
        dist.init_process_group('gloo', **options)

    def wrap(module: nn.Module, broadcast_buffers: bool = True, **options: Any) -> nn.Module:
        options.pop('device_ids', None)
        module = mmcv.cnn.utils.revert_sync_batchnorm(module)  # torch wraps SyncBN on GPUs alone
        return wrap_distributed(
            module, torch.device('cpu'), broadcast_buffers=broadcast_buffers, **options
        )

    _replace(stack, mmcv.runner, 'init_dist', init_dist)
    _replace(stack, mmcv.parallel, 'MMDistributedDataParallel', wrap)
    _replace(stack, nn.Module, 'cuda', lambda module, device=None: module)
    _replace(stack, torch.cuda, 'current_device', lambda: 0)
    _replace(stack, torch.cuda, 'synchronize', lambda device=None: None)


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until the stack is closed."""
    if name in vars(owner):
        stack.callback(setattr, owner, name, vars(owner)[name])
    else:
        stack.callback(delattr, owner, name)
    setattr(owner, name, value)
