"""What is to be done is dealt out once, whatever the number of processes."""

import pytest
import torch

from oadp.oake.ranks import Ranks
from oadp.utils.runtime import World


@pytest.mark.parametrize('size', [1, 2, 3, 8])
@pytest.mark.parametrize('num', [0, 1, 5, 16, 17])
def test_share_deals_out_without_padding(size, num):
    shares = []
    for rank in range(size):
        ranks = Ranks(World(rank=rank, local_rank=rank, size=size, device=torch.device('cpu')))
        shares.append(ranks.share(list(range(num))))
    assert sorted(sum(shares, [])) == list(range(num))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_talks_to_itself():
    ranks = Ranks(World(rank=0, local_rank=0, size=1, device=torch.device('cpu')))
    assert ranks.gather({3}) == [{3}]
