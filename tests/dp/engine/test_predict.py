import torch
import torch.distributed as dist

from oadp.dp.engine.predict import gather
from oadp.utils import runtime
from oadp.utils.runtime import World


def test_one_process_has_its_own():
    world = World(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
    assert gather('mine', world) == ['mine']


def test_several_processes(tmp_path, monkeypatch):
    """A group of one will do to see it; it waits for slow processes as long as the run does."""
    patience = []
    new_group = dist.new_group

    def spy(**options):
        patience.append(options['timeout'])
        return new_group(**options)

    monkeypatch.setattr(dist, 'new_group', spy)
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1)
    try:
        world = World(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
        assert world.is_distributed
        assert gather({3: 'c'}, world) == [{3: 'c'}]
    finally:
        dist.destroy_process_group()
    assert patience == [runtime.PATIENCE]
