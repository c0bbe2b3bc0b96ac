"""Extract features: the loop reader → encoder → writer, which the three kinds of features share."""

__all__ = ['Options', 'Report', 'extract']

import collections
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from oadp.data.features.stores import check
from oadp.oake.batches import Batch, Batcher, Segment, halve
from oadp.oake.encoder import ImageEncoder
from oadp.oake.image_list import ImageInfo
from oadp.oake.reader import Chunk, Failure, read
from oadp.oake.resample import upload
from oadp.oake.split import TIMEOUT, Split, find_missing, share
from oadp.oake.writer import Writer
from oadp.utils.distributed import all_gather
from oadp.utils.memory import is_out_of_memory
from oadp.utils.progress import Progress
from oadp.utils.runtime import ProcessInfo

_MAX_CHUNK = 32  # inputs that a thread cuts at a time, 5 MB at 224 pixels
_MAX_SILENCE = 60.0  # seconds between log lines
_PRECISION_ADVICE = (
    'numbers that are too large for fp16 become infinite: check the size of the image and the weights '
    'of CLIP, and try --override .precision::fp32'
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of an extraction.

    Attributes:
        batch_size: returns the size of a mini-batch for inputs of a height and width in pixels.
        log_interval: number of images between log lines.
        logger: logger of failures.
    """

    batch_size: Callable[[tuple[int, int]], int]
    log_interval: int
    logger: logging.Logger


@dataclasses.dataclass(frozen=True)
class Report:
    """Result of the extraction of a split, over all processes.

    Attributes:
        done: number of images with a new record.
        skipped: number of images that already had a record.
        crops: number of encoded inputs.
        seconds: time of the slowest process.
        failed: one line per failed image.
    """

    done: int
    skipped: int
    crops: int
    seconds: float
    failed: list[str]


def extract(split: Split, encoder: ImageEncoder, world: ProcessInfo, options: Options) -> Report:
    """Extract the missing records of a split. Every process of the run must call this function.

    Args:
        split: images, kind of features and store.
        encoder: on its device, in its precision.
        world: this process and the number of processes; each extracts its share of the images.
        options: mini-batch and logging.

    Returns:
        The same report in every process.
    """
    missing = find_missing(split, encoder.dim, world, options.logger)
    missing.sort(key=lambda position: split.task.order(split.images[position]))
    mine = [split.images[position] for position in share(missing, world)]
    skipped = len(split.images) - len(missing)
    failed = []
    progress = Progress(
        len(mine),
        f'{split.task.kind} {split.name}',
        'images',
        interval=_MAX_SILENCE,
        every=options.log_interval,
        enabled=world.is_main,
    )
    with Writer(split.store) as writer, progress:
        run = _Run(split, encoder, writer, progress, skipped, options)
        for failure in run.run(mine):
            failed.append(f'{failure.image.file}: {_describe(failure.error)}')
            options.logger.error('image %d failed: %s', failure.image.id, failed[-1])
    mine_done = run.num_images - len(failed)
    parts = all_gather((mine_done, run.num_crops, progress.seconds, failed), world, TIMEOUT)
    done, crops, seconds, failures = zip(*parts, strict=True)
    return Report(sum(done), skipped, sum(crops), max(seconds), sum(failures, []))


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, (OSError, ValueError)) else repr(error)


def _outside(segment: Segment) -> Tensor:
    """Return the masks of a segment's inputs."""
    inputs = segment.chunk.inputs
    assert inputs is not None and inputs.outside is not None
    return inputs.outside[segment.part]


@dataclasses.dataclass
class _Partial:
    """The embeddings of an image of which some inputs are not yet encoded."""

    embeddings: Tensor
    missing: int


class _Run:
    """The extraction of the images of one process.

    Attributes:
        num_images: number of finished images, failed ones included.
        num_crops: number of encoded inputs.
    """

    def __init__(
        self,
        split: Split,
        encoder: ImageEncoder,
        writer: Writer,
        progress: Progress,
        skipped: int,
        options: Options,
    ) -> None:
        self.num_images = self.num_crops = 0
        self._split = split
        self._encoder = encoder
        self._device = next(encoder.parameters()).device
        self._writer = writer
        self._progress = progress
        self._skipped = skipped
        self._batch_size = options.batch_size
        self._partial: dict[int, _Partial] = {}
        self._discarded: set[int] = set()
        self._failures: list[Failure] = []
        self._running: collections.deque[tuple[Batch, Tensor, torch.cuda.Event | None]] = (
            collections.deque()
        )

    def run(self, images: list[ImageInfo]) -> Iterator[Failure]:
        """Extract the features of images; yield the images that could not be read or encoded."""
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
        """Record the failure of an image once, and discard its embeddings."""
        if failure.image.id not in self._discarded:
            self._discarded.add(failure.image.id)
            self._partial.pop(failure.image.id, None)
            self._count(num_images=1)
            self._failures.append(failure)

    def _take_failures(self) -> list[Failure]:
        failures, self._failures = self._failures, []
        return failures

    def _encode(self, batch: Batch) -> None:
        """Encode a batch; if the memory is too small, encode it in halves, down to a single input."""
        batch = [s for s in batch if s.chunk.image.id not in self._discarded]
        if not batch:
            return
        try:
            self._start(batch)
        except (MemoryError, RuntimeError) as e:
            if not is_out_of_memory(e):
                raise
            error = e.with_traceback(None)  # the traceback would keep the tensors alive
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
                    f'too little memory for an input of {width} × {height} pixels ({cause}); use a '
                    'device with more memory, or a smaller image'
                ),
            )
        )

    def _start(self, batch: Batch) -> None:
        """Start encoding a batch; on a GPU this does not wait for the result."""
        pixels = [s.chunk.inputs.pixels(s.part, self._device) for s in batch]
        outside = None
        if self._split.task.is_masked:
            masks = torch.cat([_outside(s) for s in batch])
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
        """Assign the embeddings of the oldest batch to their images, and finish complete images."""
        batch, embeddings, event = self._running.popleft()
        if event is not None:
            event.synchronize()
        self._count(num_crops=len(embeddings))
        for segment, part in zip(batch, embeddings.split([len(s) for s in batch]), strict=True):
            chunk = segment.chunk
            if chunk.image.id in self._discarded:
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
        """Hand the record of an image to the writer; a wrong one is a failure of the image."""
        task = self._split.task
        record = task.record(embeddings, chunk.extras)
        try:
            check(task.kind, record)
        except ValueError as e:
            self._fail(Failure(chunk.image, ValueError(f'not written: {e}; {_PRECISION_ADVICE}')))
            return
        self._writer.write(chunk.image.id, record)
        self._count(num_images=1)

    def _count(self, num_images: int = 0, num_crops: int = 0) -> None:
        self.num_images += num_images
        self.num_crops += num_crops
        rate = self.num_crops / max(self._progress.seconds, 1e-9)
        self._progress.update(num_images, skipped=self._skipped, **{'crops/s': rate})
