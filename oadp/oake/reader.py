"""Decode images and cut crops in threads, while the encoder runs.

Threads are used instead of processes because PIL releases the global lock while it decodes and resizes,
no data is copied between processes, and a killed run leaves no worker processes behind.
"""

__all__ = ['Chunk', 'Failure', 'read']

import dataclasses
import queue
import threading
from collections.abc import Iterator, Sequence

from torch import Tensor

from oadp.oake.image_list import ImageInfo
from oadp.oake.task import Inputs, Task

_POLL = 0.2  # seconds between checks whether the consumer has stopped


@dataclasses.dataclass
class Chunk:
    """Some of the inputs of an image.

    Attributes:
        image: the image.
        num: number of inputs of the whole image.
        extras: tensors of the record other than the embeddings.
        start: position of the first input among those of the image.
        inputs: the inputs; None if the image has no inputs.
    """

    image: ImageInfo
    num: int
    extras: dict[str, Tensor]
    start: int
    inputs: Inputs | None


@dataclasses.dataclass
class Failure:
    """An image that could not be read or encoded; its other chunks are discarded."""

    image: ImageInfo
    error: Exception


class _Stopped(Exception):
    """The consumer has stopped."""


def read(
    images: Sequence[ImageInfo], task: Task, num_workers: int, chunk_size: int
) -> Iterator[Chunk | Failure]:
    """Yield the chunks of images.

    The chunks of an image are in order; chunks of different images are interleaved. The number of
    waiting chunks is bounded, whatever the number of inputs of an image.

    Args:
        images: images to read.
        task: prepares the inputs of an image.
        num_workers: number of threads; at least one is used.
        chunk_size: maximum number of inputs in a chunk.

    Yields:
        A chunk, or a failure in place of the remaining chunks of an image.
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
        yield Chunk(image, 0, sample.extras, 0, None)
    for start in range(0, sample.num, chunk_size):
        part = slice(start, min(start + chunk_size, sample.num))
        yield Chunk(image, sample.num, sample.extras, start, sample.cut(part))
