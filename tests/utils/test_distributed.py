"""Values are gathered by rank, on one process and on several."""

import datetime
import pathlib
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from oadp.utils import runtime
from oadp.utils.distributed import all_gather, gather
from oadp.utils.runtime import ProcessInfo


def world_of(rank: int, size: int) -> ProcessInfo:
    return ProcessInfo(rank=rank, local_rank=rank, size=size, device=torch.device('cpu'))


@pytest.mark.parametrize('function', [gather, all_gather])
def test_without_a_group_a_process_gathers_its_own_value(function: Callable) -> None:
    assert function('value', world_of(0, 1)) == ['value']


@pytest.mark.parametrize('function', [gather, all_gather])
@pytest.mark.parametrize('timeout', [None, datetime.timedelta(days=30)])
def test_a_group_of_one_waits_for_the_given_time(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    function: Callable,
    timeout: datetime.timedelta | None,
) -> None:
    timeouts = []
    new_group = dist.new_group

    def spy(**options):
        timeouts.append(options['timeout'])
        return new_group(**options)

    monkeypatch.setattr(dist, 'new_group', spy)
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1)
    try:
        world = world_of(0, 1)
        assert world.is_distributed
        options = {} if timeout is None else dict(timeout=timeout)
        assert function({3: 'c'}, world, **options) == [{3: 'c'}]
    finally:
        dist.destroy_process_group()
    assert timeouts == [timeout or runtime.GROUP_TIMEOUT]


def _gather_in_process(rank: int, size: int, folder: str) -> None:
    dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=size)
    world = world_of(rank, size)
    torch.save((gather(rank * 'x', world), all_gather([rank], world)), f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def test_the_values_of_several_processes_are_ordered_by_rank(tmp_path: pathlib.Path) -> None:
    torch.multiprocessing.start_processes(
        _gather_in_process, args=(3, str(tmp_path)), nprocs=3, start_method='fork'
    )
    found = [torch.load(tmp_path / f'{rank}.pth') for rank in range(3)]
    assert found[0] == (['', 'x', 'xx'], [[0], [1], [2]])
    assert [first for first, _ in found[1:]] == [None, None]
    assert all(everywhere == [[0], [1], [2]] for _, everywhere in found)
