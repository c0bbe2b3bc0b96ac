"""What the processes of a run tell each other: which images are missing, what came of them."""

__all__ = ['Ranks']

import datetime
from typing import Any

import torch.distributed as dist

from oadp.utils.runtime import World

_PATIENCE = datetime.timedelta(days=30)
"""Processes are done with their images hours apart, where the machines differ."""


class Ranks:
    """The processes of a run, as a place to exchange small objects; one process talks to itself."""

    def __init__(self, world: World) -> None:
        self.rank, self.size = world.rank, world.size
        is_group = world.is_distributed and world.size > 1
        self._group = dist.new_group(backend='gloo', timeout=_PATIENCE) if is_group else None

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, by rank. All wait for all."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def share(self, items: list) -> list:
        """This process's part of what is to be done: no item twice, none added."""
        return items[self.rank :: self.size]
