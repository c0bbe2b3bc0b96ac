import itertools

import numpy as np
import pytest
import torch

from oadp.dp.data.loaders import Share, StepSampler, build_train_loader, build_val_loader
from oadp.utils.runtime import ProcessInfo

FLAGS = [0, 1, 1, 0, 1, 0, 1, 1, 0]  # odd numbers of both values


def process(rank: int = 0, size: int = 1) -> ProcessInfo:
    return ProcessInfo(rank=rank, local_rank=rank, size=size, device=torch.device('cpu'))


def steps(
    world: ProcessInfo, images: int, endless: bool = True, first: int = 0, epoch: int = 0
) -> list:
    sampler = StepSampler(FLAGS, images, world, 7, endless)
    sampler.first_step, sampler.epoch = first, epoch
    return list(itertools.islice(sampler, 20))


@pytest.mark.parametrize('endless', [True, False])
def test_steps_do_not_depend_on_the_number_of_processes(endless: bool):
    one = steps(process(), 4, endless)
    two = [steps(process(r, 2), 2, endless) for r in range(2)]
    four = [steps(process(r, 4), 1, endless) for r in range(4)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert [sum(pieces, []) for pieces in zip(*four, strict=True)] == one


def test_endless_steps_can_be_resumed():
    assert steps(process(), 4, first=7)[:13] == steps(process(), 4)[7:]


def test_an_epoch_has_every_image():
    first, second = (steps(process(), 4, endless=False, epoch=e) for e in range(2))
    assert len(first) == len(StepSampler(FLAGS, 4, process(), 7, False)) == 3
    for epoch in (first, second):
        assert {index for step in epoch for index, _ in step} == set(range(len(FLAGS)))
    assert first != second
    places = [place for step in first + second for _, place in step]
    assert places == list(range(24))


def test_images_of_one_orientation_are_paired():
    row = [FLAGS[index] for step in steps(process(), 2) for index, _ in step]
    assert row[0::2] == row[1::2]


def test_order_depends_on_the_seed():
    orders = [list(itertools.islice(StepSampler(FLAGS, 2, process(), s, True), 5)) for s in (1, 2)]
    assert orders[0] != orders[1]


class Noise:
    CLASSES = ('cat',)
    flag = np.zeros(6)

    def __len__(self) -> int:
        return len(self.flag)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, np.random.rand()])


@pytest.mark.parametrize('workers', [0, 2])
def test_random_numbers_of_an_image_do_not_depend_on_the_worker(workers: int):
    config = dict(samples_per_gpu=2, workers_per_gpu=workers)
    loader = build_train_loader(Noise(), config, process(), 3, endless=False)
    got = torch.cat(list(loader))
    pieces = [
        torch.cat(list(build_train_loader(Noise(), dict(samples_per_gpu=1, workers_per_gpu=0), process(r, 2), 3, False)))
        for r in range(2)
    ]  # fmt: skip
    assert torch.equal(got[0::2], pieces[0]) and torch.equal(got[1::2], pieces[1])
    assert len(set(got[:, 1].tolist())) == 6


def test_shares_contain_each_image_once():
    dataset = list(range(11))
    shares = [Share(dataset, process(rank, 3)) for rank in range(3)]
    assert sorted(sum((list(s.indices) for s in shares), [])) == dataset
    assert [len(s) for s in shares] == [4, 4, 3]


def test_images_are_tested_one_at_a_time():
    with pytest.raises(ValueError, match='samples_per_gpu is 2'):
        build_val_loader(Noise(), dict(samples_per_gpu=2, workers_per_gpu=0), process())
