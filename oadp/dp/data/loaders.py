"""Which image is read when, and by whom: a function of the seed, not of the processes.

All processes see one endless row of images, cut into steps of ``processes × images each``; each takes
its piece of a step. So a run can be taken up at any step, two processes of one image make the same
steps as one process of two, and an image's random flip and size depend on its place in the row, not
on the worker that reads it.
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

from oadp.utils.runtime import World

_PAIR = 2
"""Images of one orientation that stand side by side, as a process's in the paper; saves padding."""


class StepSampler(Sampler):
    """The indices of this process's images, step by step.

    Args:
        flags: (n,) an integer an image; those of one value are put side by side (mmdet's
            ``flag``: whether the image is wider than high).
        images_per_process: how many images a process has in a step.
        world: this process among the others.
        seed: decides the order.
        endless: go on from epoch to epoch; otherwise stop after one, in which the last step is
            filled up from the first ones.

    Attributes:
        first_step: where to begin, when ``endless``.
        epoch: which epoch to go through, when not ``endless``.

    Each step is a list of (index, place in the row of all images).
    """

    def __init__(
        self,
        flags: Sequence[int],
        images_per_process: int,
        world: World,
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
        """Steps of an epoch."""
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
        """All images in random order, in pairs of one flag; an odd one is paired with another."""
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
    """Reads an image with random numbers of its own: item (index, place in the row)."""

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
    """Seed Python's, NumPy's and torch's generators from some numbers."""
    a, b, c = (int(s) for s in np.random.SeedSequence(entropy).generate_state(3))
    random.seed(a)
    np.random.seed(b)
    torch.manual_seed(c)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism


def _build_loader(dataset: Any, images: int, workers: int, **options: Any) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=partial(collate, samples_per_gpu=images),
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=False,  # mmcv copies what a step needs itself
        **options,
    )


def build_train_loader(
    dataset: Any, config: Mapping[str, Any], world: World, seed: int, endless: bool
) -> DataLoader:
    """The loader of a process's training steps; its ``batch_sampler`` is a ``StepSampler``.

    Args:
        dataset: mmdet's, with ``flag``.
        config: ``trainer.dataloader``: ``samples_per_gpu``, ``workers_per_gpu``.
        world, seed, endless: see ``StepSampler``.
    """
    images = config['samples_per_gpu']
    return _build_loader(
        _SeededDataset(dataset, seed),
        images,
        config['workers_per_gpu'],
        batch_sampler=StepSampler(dataset.flag, images, world, seed, endless),
    )


class Share(Subset):
    """The images of one process, dealt out without padding, of a dataset that all evaluate."""

    def __init__(self, dataset: Any, world: World) -> None:
        super().__init__(dataset, range(world.rank, len(dataset), world.size))

    def evaluate(self, results: list, **kwargs) -> dict[str, Any]:
        """Evaluate the results of the whole dataset."""
        return self.dataset.evaluate(results, **kwargs)


def build_val_loader(dataset: Any, config: Mapping[str, Any], world: World) -> DataLoader:
    """The loader of a process's share of a dataset, one image at a time.

    Args:
        dataset: mmdet's, in test mode.
        config: ``validator.dataloader``: ``samples_per_gpu`` (1), ``workers_per_gpu``.
        world: this process among the others.

    Raises:
        ValueError: ``samples_per_gpu`` is not 1, or ``workers_per_gpu`` is not a number of processes.
    """
    if config['samples_per_gpu'] != 1:
        raise ValueError(
            f'validator.dataloader.samples_per_gpu is {config["samples_per_gpu"]}; images are '
            'detected one at a time, so that none is padded to the size of another: set it to 1'
        )
    workers = config['workers_per_gpu']
    if type(workers) is not int or workers < 0:
        raise ValueError(
            f'validator.dataloader.workers_per_gpu is {workers!r}; expected a whole number of at least 0'
        )
    return _build_loader(Share(dataset, world), 1, workers, batch_size=1)
