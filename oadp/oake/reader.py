"""Decoding and cutting, in threads beside the encoder.

Threads and not processes: PIL holds no lock while it decodes and resizes, nothing has to be copied
between processes, and a killed run leaves no orphans.
"""

__all__ = ['Chunk', 'Failure', 'read']

import dataclasses
import queue
import threading
from collections.abc import Iterator, Sequence

from torch import Tensor

from oadp.oake.image_list import ImageInfo
from oadp.oake.task import Inputs, Task

_POLL = 0.2  # seconds between looks at whether the run goes on


@dataclasses.dataclass
class Chunk:
    """Some inputs of an image.

    Attributes:
        image: where they are from.
        num: inputs of the whole image.
        beside: what its record has beside the embeddings.
        start: position of the first input in the image.
        inputs: None where the image has none at all.
    """

    image: ImageInfo
    num: int
    beside: dict[str, Tensor]
    start: int
    inputs: Inputs | None


@dataclasses.dataclass
class Failure:
    """An image that could not be read; its earlier chunks are void."""

    image: ImageInfo
    error: Exception


class _Stopped(Exception):
    """The consumer is gone."""


def read(
    images: Sequence[ImageInfo], task: Task, num_workers: int, chunk_size: int
) -> Iterator[Chunk | Failure]:
    """Chunks of the images; those of an image in order, images as the threads get done.

    What waits to be encoded is bounded, whatever the number of inputs of an image.

    Args:
        images: to read.
        task: says what is read of them.
        num_workers: threads, at least one.
        chunk_size: inputs in a chunk.
    """
    num_workers = max(1, min(num_workers, len(images)))
    results: queue.Queue = queue.Queue(maxsize=2 * num_workers)
    todo = iter(images)
    lock, stop = threading.Lock(), threading.Event()

    def put(item: Chunk | Failure | None) -> None:
        while not stop.is_set():
            try:
                return results.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise _Stopped

    def take() -> ImageInfo | None:
        with lock:
            return next(todo, None)

    def work() -> None:
        try:
            while (image := take()) is not None:
                try:
                    for chunk in _chunks(image, task, chunk_size):
                        put(chunk)
                except _Stopped:
                    raise
                except Exception as e:  # whatever is wrong with an image, the others are done
                    put(Failure(image, e))
            put(None)
        except _Stopped:
            pass

    threads = [threading.Thread(target=work, daemon=True) for _ in range(num_workers)]
    for thread in threads:
        thread.start()
    try:
        running = num_workers
        while running:
            item = results.get()
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _chunks(image: ImageInfo, task: Task, chunk_size: int) -> Iterator[Chunk]:
    sample = task.prepare(image)
    if not sample.num:
        yield Chunk(image, 0, sample.beside, 0, None)
    for start in range(0, sample.num, chunk_size):
        part = slice(start, min(start + chunk_size, sample.num))
        yield Chunk(image, sample.num, sample.beside, start, sample.cut(part))
