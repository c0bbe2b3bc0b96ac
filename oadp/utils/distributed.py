"""Exchange small Python objects between the processes of a run.

Objects travel through the CPU (gloo): NCCL would hold every process's objects on every GPU.
"""

from __future__ import annotations

__all__ = ['all_gather', 'gather']

import contextlib
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from oadp.utils.runtime import GROUP_TIMEOUT, ProcessInfo

if TYPE_CHECKING:
    import torch.distributed as dist


def gather(
    value: Any, world: ProcessInfo, timeout: datetime.timedelta = GROUP_TIMEOUT
) -> list[Any] | None:
    """Return the value of each process, by rank, on the first process, and None on the others.

    All processes must call this function.

    Args:
        value: an object that can be pickled.
        world: this process among the others.
        timeout: how long a process waits for the others.
    """
    if not world.is_distributed:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * world.size if world.is_main else None
    with _gloo_group(timeout) as group:
        dist.gather_object(value, values, dst=0, group=group)
    return values


def all_gather(
    value: Any, world: ProcessInfo, timeout: datetime.timedelta = GROUP_TIMEOUT
) -> list[Any]:
    """Return the value of each process, by rank, on all processes.

    All processes must call this function.

    Args:
        value: an object that can be pickled.
        world: this process among the others.
        timeout: how long a process waits for the others.
    """
    if not world.is_distributed:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world.size
    with _gloo_group(timeout) as group:
        dist.all_gather_object(values, value, group=group)
    return values


@contextlib.contextmanager
def _gloo_group(timeout: datetime.timedelta) -> Iterator[dist.ProcessGroup]:
    import torch.distributed as dist

    group = dist.new_group(backend='gloo', timeout=timeout)
    try:
        yield group
    finally:
        dist.destroy_process_group(group)
