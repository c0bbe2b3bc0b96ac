"""The missing images of a split are shared between processes."""

import pytest
import torch

from oadp.oake.split import share
from oadp.utils.runtime import ProcessInfo


@pytest.mark.parametrize('size', [1, 2, 3, 8])
@pytest.mark.parametrize('num', [0, 1, 5, 16, 17])
def test_each_image_belongs_to_one_process(size, num):
    shares = []
    for rank in range(size):
        world = ProcessInfo(rank=rank, local_rank=rank, size=size, device=torch.device('cpu'))
        shares.append(share(list(range(num)), world))
    assert sorted(sum(shares, [])) == list(range(num))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
