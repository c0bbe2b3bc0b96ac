"""Load images in an order that depends on the seed only, not on the number of processes.

All processes share one endless sequence of images, which is divided into steps of ``processes ×
images per process``; each process takes its part of a step. Therefore a run can be resumed at any
step, two processes with one image each make the same steps as one process with two images, and the
random flip and size of an image depend on its position in the sequence, not on the worker that reads
it.
"""

__all__ = ['Share', 'StepSampler', 'build_train_loader', 'build_val_loader', 'seed_everything']

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.parallel import collate
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from oadp.utils.runtime import ProcessInfo

_PAIR = 2
"""The number of consecutive images with the same orientation, as the images of a process in the paper.
This reduces padding."""


class StepSampler(Sampler):
    """Yield the indices of the images of this process, step by step.

    Args:
        flags: (n,) an integer per image; images with the same value are grouped (mmdet's ``flag``:
            whether the image is wider than high).
        images_per_process: the number of images of a process in a step.
        world: this process among the others.
        seed: the seed of the order.
        endless: continue from epoch to epoch; otherwise stop after one epoch, whose last step is
            filled with images from its beginning.

    Attributes:
        first_step: the step to start from, if ``endless``.
        epoch: the epoch to iterate over, if not ``endless``.

    Each step is a list of pairs of an index and a position in the sequence of all images.
    """

    def __init__(
        self,
        flags: Sequence[int],
        images_per_process: int,
        world: ProcessInfo,
        seed: int,
        endless: bool,
    ) -> None:
        self._flags = np.asarray(flags)
        self._piece = slice(world.rank * images_per_process, (world.rank + 1) * images_per_process)
        self._step_size = world.size * images_per_process
        self._seed = seed
        self._endless = endless
        self._epoch_size = sum(
            int(count) + int(count) % _PAIR for count in np.unique(flags, return_counts=True)[1]
        )
        self.first_step = 0
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-self._epoch_size // self._step_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        places = self._endless_places() if self._endless else self._epoch_places()
        step: list[tuple[int, int]] = []
        for place in places:
            step.append(place)
            if len(step) == self._step_size:
                yield step[self._piece]
                step = []

    def _endless_places(self) -> Iterator[tuple[int, int]]:
        place = self.first_step * self._step_size
        while True:
            epoch, offset = divmod(place, self._epoch_size)
            for index in self._order(epoch)[offset:].tolist():
                yield index, place
                place += 1

    def _epoch_places(self) -> Iterator[tuple[int, int]]:
        size = len(self) * self._step_size
        order = np.resize(self._order(self.epoch), size)
        yield from zip(
            order.tolist(), range(self.epoch * size, (self.epoch + 1) * size), strict=True
        )

    def _order(self, epoch: int) -> np.ndarray:
        """Return all images in random order, in pairs of one flag.

        If the number of images with a flag is odd, one of them occurs twice.
        """
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._flags))
        pairs = []
        for flag in np.unique(self._flags):
            members = order[self._flags[order] == flag]
            if len(members) % _PAIR:
                members = np.append(members, rng.choice(members))
            pairs.append(members.reshape(-1, _PAIR))
        return rng.permutation(np.concatenate(pairs)).reshape(-1)


class _SeededDataset(Dataset):
    """Read each image with its own random numbers; an item is (index, position in the sequence)."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self.CLASSES = dataset.CLASSES  # mmdet's NumClassCheckHook reads it

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, item: tuple[int, int]) -> Any:
        index, place = item
        seed_everything(self._seed, place)
        return self._dataset[index]


def seed_everything(*entropy: int) -> None:
    """Seed the generators of Python, NumPy and torch."""
    a, b, c = (int(s) for s in np.random.SeedSequence(entropy).generate_state(3))
    random.seed(a)
    np.random.seed(b)
    torch.manual_seed(c)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the workers run in parallel already


def _build_loader(dataset: Any, images: int, workers: int, **options: Any) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=partial(collate, samples_per_gpu=images),
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=False,  # mmcv copies the batch itself
        **options,
    )


def build_train_loader(
    dataset: Any, config: Mapping[str, Any], world: ProcessInfo, seed: int, endless: bool
) -> DataLoader:
    """Return the loader of the training steps of a process; its ``batch_sampler`` is a ``StepSampler``.

    Args:
        dataset: a dataset of mmdet, with ``flag``.
        config: ``trainer.dataloader``: ``samples_per_gpu``, ``workers_per_gpu``.
        world: this process among the others.
        seed: see ``StepSampler``.
        endless: see ``StepSampler``.
    """
    images = config['samples_per_gpu']
    return _build_loader(
        _SeededDataset(dataset, seed),
        images,
        config['workers_per_gpu'],
        batch_sampler=StepSampler(dataset.flag, images, world, seed, endless),
    )


class Share(Subset):
    """The images of one process, as a subset of a dataset that is divided without padding.

    Args:
        dataset: the whole dataset.
        world: this process among the others.
    """

    dataset: Any

    def __init__(self, dataset: Any, world: ProcessInfo) -> None:
        super().__init__(dataset, range(world.rank, len(dataset), world.size))

    def evaluate(self, results: list, **kwargs) -> dict[str, Any]:
        """Evaluate the results of the whole dataset."""
        return self.dataset.evaluate(results, **kwargs)


def build_val_loader(dataset: Any, config: Mapping[str, Any], world: ProcessInfo) -> DataLoader:
    """Return the loader of this process's share of a dataset, one image at a time.

    Args:
        dataset: a dataset of mmdet, in test mode.
        config: ``validator.dataloader``: ``samples_per_gpu`` (1), ``workers_per_gpu``.
        world: this process among the others.

    Raises:
        ValueError: ``samples_per_gpu`` is not 1, or ``workers_per_gpu`` is not a number of workers.
    """
    if config['samples_per_gpu'] != 1:
        raise ValueError(
            f'validator.dataloader.samples_per_gpu is {config["samples_per_gpu"]}; expected 1, '
            'as images are detected one at a time, so that none is padded to the size of another'
        )
    workers = config['workers_per_gpu']
    if type(workers) is not int or workers < 0:
        raise ValueError(
            f'validator.dataloader.workers_per_gpu is {workers!r}; expected an integer of at least 0'
        )
    return _build_loader(Share(dataset, world), 1, workers, batch_size=1)
