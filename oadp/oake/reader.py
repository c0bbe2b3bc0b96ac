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
    results = _Queue(maxsize=2 * num_workers)
    worker = _Worker(images, task, chunk_size, results)
    threads = [threading.Thread(target=worker.run, daemon=True) for _ in range(num_workers)]
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
        results.stop()
        for thread in threads:
            thread.join()


class _Queue:
    """A queue of limited size whose producers end when the consumer stops; None ends a producer."""

    def __init__(self, maxsize: int) -> None:
        self._items: queue.Queue[Chunk | Failure | None] = queue.Queue(maxsize)
        self._stop = threading.Event()

    def put(self, item: Chunk | Failure | None) -> None:
        while not self._stop.is_set():
            try:
                return self._items.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise _Stopped

    def get(self) -> Chunk | Failure | None:
        return self._items.get()

    def stop(self) -> None:
        self._stop.set()


class _Worker:
    """What the threads share: each takes the next image and puts its chunks in the queue."""

    def __init__(
        self, images: Sequence[ImageInfo], task: Task, chunk_size: int, results: _Queue
    ) -> None:
        self._todo = iter(images)
        self._lock = threading.Lock()
        self._task = task
        self._chunk_size = chunk_size
        self._results = results

    def run(self) -> None:
        try:
            while (image := self._take()) is not None:
                self._read(image)
            self._results.put(None)
        except _Stopped:
            pass

    def _take(self) -> ImageInfo | None:
        with self._lock:
            return next(self._todo, None)

    def _read(self, image: ImageInfo) -> None:
        try:
            for chunk in _chunks(image, self._task, self._chunk_size):
                self._results.put(chunk)
        except _Stopped:
            raise
        except Exception as e:  # an error in one image does not affect the others
            self._results.put(Failure(image, e))


def _chunks(image: ImageInfo, task: Task, chunk_size: int) -> Iterator[Chunk]:
    sample = task.prepare(image)
    if not sample.num:
        yield Chunk(image, 0, sample.extras, 0, None)
    for start in range(0, sample.num, chunk_size):
        part = slice(start, min(start + chunk_size, sample.num))
        yield Chunk(image, sample.num, sample.extras, start, sample.cut(part))
