"""todd's schedules count on the host, and agree with the buffer that checkpoints contain."""

import copy
import pickle
from unittest import mock

import pytest
import torch
from todd.losses.schedulers import ChainedScheduler, WarmupScheduler

import oadp.dp  # noqa: F401

KEY = '_steps'


@pytest.fixture
def warmup() -> WarmupScheduler:
    oadp.dp.register()
    return WarmupScheduler(end=5, gain=10.0)


def test_values(warmup):
    values = []
    for step in range(1, 8):
        assert warmup.steps == warmup.state_dict()[KEY] == step
        values.append(warmup())
        warmup.step()
    assert values == pytest.approx([2, 4, 6, 8, 10, 10, 10])


def test_the_buffer_is_read_once(warmup):
    with mock.patch.object(torch.Tensor, 'item', autospec=True, return_value=1) as item:
        for _ in range(4):
            warmup()
            warmup.step()
    assert item.call_count == 1 and warmup.state_dict()[KEY] == 5


@pytest.mark.parametrize(
    'change',
    [
        lambda s: s.load_state_dict({KEY: torch.tensor(4)}),
        lambda s: setattr(s, 'steps', 4),
        lambda s: s._steps.fill_(4),
        lambda s: s._buffers.__setitem__(KEY, torch.tensor(4)),  # as a move to a device does
    ],
    ids=['checkpoint', 'value', 'in place', 'another buffer'],
)
def test_changes_from_outside(warmup, change):
    warmup()
    warmup.step()
    change(warmup)
    assert (warmup.steps, warmup()) == (4, 8.0)
    warmup.step()
    assert warmup.steps == warmup.state_dict()[KEY] == 5


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_count_on_their_own(warmup, copied):
    for _ in range(2):
        warmup()
        warmup.step()
    other = copied(warmup)
    assert other.steps == 3
    other.step()
    assert (other.steps, warmup.steps) == (4, 3)


def test_chained_schedules_advance(warmup):
    chained = ChainedScheduler(schedulers=[warmup])
    chained()
    chained.step()
    assert warmup.steps == chained.steps == 2
