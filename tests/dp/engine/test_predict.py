"""Each process visits its share of the images, and the results are in the order of the dataset."""

import numpy as np
import pytest
import torch
from torch import nn

from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine import predict as module
from oadp.dp.engine.predict import gather_in_order, predict, visit_images
from oadp.utils.runtime import ProcessInfo

LOADER = dict(samples_per_gpu=1, workers_per_gpu=0)
DATASET = [dict(img=torch.full((1,), float(i))) for i in range(5)]


def world_of(rank: int = 0, size: int = 1) -> ProcessInfo:
    return ProcessInfo(rank=rank, local_rank=rank, size=size, device=torch.device('cpu'))


class Detector(nn.Module):
    """Return ten times the value of each image, or fail on one of them."""

    def __init__(self, fails_on: int | None = None, with_masks: bool = False) -> None:
        super().__init__()
        self.fails_on, self.with_masks = fails_on, with_masks

    def forward(self, img: torch.Tensor, return_loss: bool, rescale: bool) -> list:
        assert not self.training and not torch.is_grad_enabled() and rescale and not return_loss
        if img.item() == self.fails_on:
            raise RuntimeError('failed')
        if self.with_masks:
            return [([np.zeros((1, 5))], [[np.eye(4, dtype=bool)]])]
        return [10 * img.item()]


@pytest.mark.parametrize(('rank', 'size'), [(0, 1), (0, 2), (1, 2), (4, 8), (5, 8)])
def test_each_process_visits_its_share(rank: int, size: int) -> None:
    world, visited = world_of(rank, size), {}
    loader = build_val_loader(DATASET, LOADER, world)
    visit_images(loader, lambda batch: batch['img'].item(), visited.__setitem__, world, 'visit')
    assert visited == {i: float(i) for i in range(rank, 5, size)}


def test_results_of_all_processes_are_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'gather', lambda value, world: [value, {1: 'b', 3: 'd'}])
    assert gather_in_order({2: 'c', 0: 'a'}, world_of(0, 2)) == ['a', 'b', 'c', 'd']
    monkeypatch.setattr(module, 'gather', lambda value, world: None)
    assert gather_in_order({1: 'b'}, world_of(1, 2)) is None


def test_predict_returns_the_visited_results() -> None:
    world, visited, detector = world_of(), [], Detector().train()
    loader = build_val_loader(DATASET, LOADER, world)
    results = predict(detector, loader, world, lambda *item: visited.append(item))
    assert results == [0, 10, 20, 30, 40]
    assert visited == list(enumerate(results))
    assert detector.training


def test_masks_are_run_length_encoded() -> None:
    loader = build_val_loader(DATASET[:1], LOADER, world_of())
    ((_, masks),) = predict(Detector(with_masks=True), loader, world_of())
    assert masks[0][0]['size'] == [4, 4]


def test_mode_is_restored_after_an_error() -> None:
    detector = Detector(fails_on=2).train()
    loader = build_val_loader(DATASET, LOADER, world_of())
    with pytest.raises(RuntimeError, match='failed'):
        predict(detector, loader, world_of())
    assert detector.training
