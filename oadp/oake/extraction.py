"""The loop that the three kinds share: reader → encoder → writer."""

__all__ = ['Options', 'Report', 'Split', 'extract']

import collections
import concurrent.futures
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from oadp.data.features.stores import Store, check
from oadp.oake.batches import Batch, Batcher, halve
from oadp.oake.encoder import ImageEncoder
from oadp.oake.image_list import ImageInfo
from oadp.oake.meter import Meter
from oadp.oake.ranks import Ranks
from oadp.oake.reader import Chunk, Failure, read
from oadp.oake.resample import upload
from oadp.oake.task import Task
from oadp.oake.writer import Writer
from oadp.utils.memory import is_out_of_memory

_MAX_CHUNK = 32  # inputs that a thread cuts at a time, 5 MB at 224 pixels


@dataclasses.dataclass(frozen=True)
class Split:
    """What is to be extracted.

    Attributes:
        name: for messages.
        images: all of it.
        task: what is encoded of an image.
        store: where records go.
        num_workers: reading threads.
        auto_fix: check the records that are there, and replace broken ones.
        redo: take no notice of the records that are there.
    """

    name: str
    images: list[ImageInfo]
    task: Task
    store: Store
    num_workers: int = 0
    auto_fix: bool = False
    redo: bool = False


@dataclasses.dataclass(frozen=True)
class Options:
    """How it is extracted.

    Attributes:
        batch_size: mini-batch for inputs of a height and width in pixels.
        log_interval: images between log lines.
        logger: where lines go.
    """

    batch_size: Callable[[tuple[int, int]], int]
    log_interval: int
    logger: logging.Logger


@dataclasses.dataclass(frozen=True)
class Report:
    """What came of a split, over all processes.

    Attributes:
        done, skipped: images.
        crops: inputs encoded.
        seconds: of the slowest process.
        failed: a line an image.
    """

    done: int
    skipped: int
    crops: int
    seconds: float
    failed: list[str]


def extract(split: Split, encoder: ImageEncoder, ranks: Ranks, options: Options) -> Report:
    """Extract what a split lacks. Every process of the run calls it.

    Args:
        split: what to extract.
        encoder: on its device, in its precision.
        ranks: the processes of the run; each does its part of the images.
        options: how.

    Returns:
        The same report in every process.
    """
    missing = _find_missing(split, encoder.dim, ranks, options.logger)
    missing.sort(key=split.task.order)
    mine = ranks.share(missing)
    skipped = len(split.images) - len(missing)
    failed = []
    label = f'{split.task.kind} {split.name}'
    with (
        Writer(split.store) as writer,
        Meter(label, len(mine), skipped, options.log_interval, options.logger, not ranks.rank) as meter,
    ):  # fmt: skip
        for failure in _Run(split, encoder, writer, meter, options).run(mine):
            failed.append(f'{failure.image.file}: {_describe(failure.error)}')
            options.logger.error('image %d failed: %s', failure.image.id, failed[-1])
    parts = ranks.gather((meter.images - len(failed), meter.crops, meter.seconds, failed))
    done, crops, seconds, failures = zip(*parts, strict=True)
    return Report(sum(done), skipped, sum(crops), max(seconds), sum(failures, []))


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, (OSError, ValueError)) else repr(error)


def _find_missing(split: Split, dim: int, ranks: Ranks, logger: logging.Logger) -> list[ImageInfo]:
    """Images without a record, or with a broken one where that is looked for; same in each process."""
    if ranks.rank == 0:
        split.store.clean()
    found = set() if split.redo or ranks.rank else set(split.store.ids())
    # One process looks: a second one might already see what the first writes.
    found = ranks.gather(found)[0]
    if split.auto_fix and found:
        present = ranks.share([image for image in split.images if image.id in found])
        broken = _find_broken(split, present, dim, logger)
        found = found.difference(*ranks.gather(broken))
    return [image for image in split.images if image.id not in found]


def _find_broken(
    split: Split, images: list[ImageInfo], dim: int, logger: logging.Logger
) -> set[int]:
    def is_broken(image: ImageInfo) -> bool:
        try:
            record = split.store.read(image.id)
            check(split.task.kind, record, count=split.task.count(image), dim=dim)
        except (OSError, ValueError) as e:
            logger.warning('extracted again: %s', e)
            return True
        return False

    with concurrent.futures.ThreadPoolExecutor(max(1, split.num_workers)) as pool:
        return {image.id for image, bad in zip(images, pool.map(is_broken, images)) if bad}  # noqa: B905


@dataclasses.dataclass
class _Partial:
    """An image of which some inputs are encoded."""

    embeddings: Tensor
    missing: int


class _Run:
    """One process's pass over its images."""

    def __init__(
        self, split: Split, encoder: ImageEncoder, writer: Writer, meter: Meter, options: Options
    ) -> None:
        self._split = split
        self._encoder = encoder
        self._device = next(encoder.parameters()).device
        self._writer = writer
        self._meter = meter
        self._batch_size = options.batch_size
        self._partial: dict[int, _Partial] = {}
        self._void: set[int] = set()
        self._failures: list[Failure] = []
        self._running: collections.deque[tuple[Batch, Tensor, torch.cuda.Event | None]] = (
            collections.deque()
        )

    def run(self, images: list[ImageInfo]) -> Iterator[Failure]:
        """Extract; the images that could not be read or encoded are yielded on the way."""
        batcher = Batcher(self._batch_size)
        task = self._split.task
        chunk_size = sys.maxsize if task.cut_on_device else _MAX_CHUNK
        for item in read(images, task, self._split.num_workers, chunk_size) if images else ():
            if isinstance(item, Failure):
                self._fail(item)
            elif item.inputs is None:
                self._finish(item, torch.zeros(0, self._encoder.dim, dtype=torch.float16))
            else:
                for batch in batcher.add(item):
                    self._encode(batch)
            yield from self._take_failures()
        for batch in batcher.flush():
            self._encode(batch)
        self._collect_all()
        yield from self._take_failures()

    def _fail(self, failure: Failure) -> None:
        """Give up an image, once; what is encoded of it is void."""
        if failure.image.id not in self._void:
            self._void.add(failure.image.id)
            self._partial.pop(failure.image.id, None)
            self._meter.count_image()
            self._failures.append(failure)

    def _take_failures(self) -> list[Failure]:
        failures, self._failures = self._failures, []
        return failures

    def _encode(self, batch: Batch) -> None:
        """Encode a batch; in halves, where the memory is too small, down to a single input."""
        batch = [s for s in batch if s.chunk.image.id not in self._void]
        if not batch:
            return
        try:
            self._start(batch)
        except (MemoryError, RuntimeError) as e:
            if not is_out_of_memory(e):
                raise
            error = e.with_traceback(None)  # which would keep the tensors
        else:
            while len(self._running) > (self._device.type == 'cuda'):
                self._collect()
            return
        self._collect_all()
        if self._device.type == 'cuda':
            torch.cuda.empty_cache()
        if sum(map(len, batch)) > 1:
            for half in halve(batch):
                self._encode(half)
            return
        image, (height, width) = batch[0].chunk.image, batch[0].chunk.inputs.size_hw
        cause = str(error).split('\n')[0]
        self._fail(
            Failure(
                image,
                ValueError(
                    f'too little memory for an input of {width} × {height} pixels ({cause})'
                ),
            )
        )

    def _start(self, batch: Batch) -> None:
        """Set a batch going; on a GPU it is not waited for."""
        pixels = [s.chunk.inputs.pixels(s.part, self._device) for s in batch]
        outside = None
        if self._split.task.is_masked:
            masks = torch.cat([s.chunk.inputs.outside[s.part] for s in batch])
            outside = upload(masks, self._device)
        embeddings = self._encoder(torch.cat(pixels), outside).half()
        event = None
        if embeddings.is_cuda:
            host = torch.empty(embeddings.shape, dtype=embeddings.dtype, pin_memory=True)
            embeddings = host.copy_(embeddings, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._running.append((batch, embeddings, event))

    def _collect_all(self) -> None:
        while self._running:
            self._collect()

    def _collect(self) -> None:
        """Hand the embeddings of a batch to their images, and write those that are complete."""
        batch, embeddings, event = self._running.popleft()
        if event is not None:
            event.synchronize()
        self._meter.count_crops(len(embeddings))
        for segment, part in zip(batch, embeddings.split([len(s) for s in batch]), strict=True):
            chunk = segment.chunk
            if chunk.image.id in self._void:
                continue
            partial = self._partial.setdefault(
                chunk.image.id, _Partial(part.new_empty(chunk.num, part.shape[1]), chunk.num)
            )
            begin = chunk.start + segment.part.start
            partial.embeddings[begin : begin + len(part)] = part
            partial.missing -= len(part)
            if not partial.missing:
                del self._partial[chunk.image.id]
                self._finish(chunk, partial.embeddings)

    def _finish(self, chunk: Chunk, embeddings: Tensor) -> None:
        record = self._split.task.record(embeddings, chunk.beside)
        self._writer.write(chunk.image.id, record)
        self._meter.count_image()
