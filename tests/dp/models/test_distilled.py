"""The values of a step's log are mmdet's, though they are read and reduced together."""

import pathlib
from collections.abc import Iterator
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from mmdet.models import TwoStageDetector

from oadp.dp import build_detector
from oadp.dp.models.distilled import DistilledDetector


@pytest.fixture
def losses() -> dict:
    torch.manual_seed(0)
    return dict(
        loss_rpn_cls=[torch.rand(()), torch.rand(3), torch.rand(())],
        loss_cls=torch.rand(5, requires_grad=True),
        acc=torch.tensor([12.5]),
        loss_half=torch.rand(4).half(),
        recall_block=torch.tensor(40.0),
    )


@pytest.fixture(params=[False, True], ids=['alone', 'process group'])
def process_group(request, tmp_path: pathlib.Path) -> Iterator[None]:
    if request.param:
        dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    if request.param:
        dist.destroy_process_group()


def test_same_as_mmdets(tiny_config, losses, process_group):
    detector = build_detector(tiny_config)
    total, values = detector._parse_losses(losses)
    expected, expected_values = TwoStageDetector._parse_losses(detector, losses)
    assert type(detector)._parse_losses is DistilledDetector._parse_losses
    assert [*values] == [*expected_values] and values == pytest.approx(expected_values, rel=1e-6)
    assert torch.equal(total, expected) and total.requires_grad


@pytest.mark.parametrize('value', [0.5, [], None])
def test_not_a_loss(tiny_config, losses, value):
    with pytest.raises(TypeError, match="loss 'loss_mine': expected a tensor or a list of tensors"):
        build_detector(tiny_config)._parse_losses({**losses, 'loss_mine': value})


def test_processes_with_other_losses(tiny_config, losses):
    """One process has 6 values, another one 8."""

    def all_reduce(tensor: torch.Tensor, *_) -> None:
        tensor.copy_(torch.maximum(tensor, torch.tensor([8, -8])))

    known = dict(is_initialized=lambda: True, get_world_size=lambda: 2, get_rank=lambda: 0)
    with (
        mock.patch.multiple(dist, all_reduce=all_reduce, **known),
        pytest.raises(RuntimeError, match='rank 0 has 6 losses and recalls.* have 6 to 8'),
    ):
        build_detector(tiny_config)._parse_losses(losses)
