"""Collect the inputs of several images into mini-batches."""

__all__ = ['Batch', 'Batcher', 'Segment', 'halve']

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple

from oadp.oake.reader import Chunk

_MAX_WAITING = 4  # mini-batches of inputs that may wait for others of the same size


class Segment(NamedTuple):
    """Some of the inputs of a chunk."""

    chunk: Chunk
    part: slice

    def __len__(self) -> int:
        return self.part.stop - self.part.start


Batch = list[Segment]


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch of at least two inputs into two halves, in order."""
    left = sum(map(len, batch)) // 2
    first, second = [], []
    for chunk, part in batch:
        middle = min(part.start + left, part.stop)
        left -= middle - part.start
        if middle > part.start:
            first.append(Segment(chunk, slice(part.start, middle)))
        if middle < part.stop:
            second.append(Segment(chunk, slice(middle, part.stop)))
    return first, second


class Batcher:
    """Collect inputs of the same size until they fill a mini-batch.

    Args:
        batch_size: returns the size of a mini-batch for inputs of a height and width in pixels.
    """

    def __init__(self, batch_size: Callable[[tuple[int, int]], int]) -> None:
        self._batch_size = batch_size
        self._waiting: dict[tuple[int, int], Batch] = collections.defaultdict(list)

    def add(self, chunk: Chunk) -> Iterator[Batch]:
        """Add a chunk; yield the batches that it fills, and others if too many inputs are waiting."""
        assert chunk.inputs is not None
        size = chunk.inputs.size_hw
        batch_size = self._batch_size(size)
        begin, end = 0, len(chunk.inputs)
        while begin < end:
            batch = self._waiting[size]
            take = min(end - begin, batch_size - sum(map(len, batch)))
            batch.append(Segment(chunk, slice(begin, begin + take)))
            begin += take
            if sum(map(len, batch)) == batch_size:
                yield self._waiting.pop(size)
        while sum(len(s) for b in self._waiting.values() for s in b) > _MAX_WAITING * batch_size:
            yield self._waiting.pop(next(iter(self._waiting)))

    def flush(self) -> Iterator[Batch]:
        """Yield the remaining inputs, one batch for each size."""
        while self._waiting:
            yield self._waiting.pop(next(iter(self._waiting)))
