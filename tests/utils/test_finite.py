"""NaN and infinity are named, with the tensor and the file."""

import pathlib

import pytest
import torch

from oadp.data.features.stores import open_store
from oadp.data.prompt_files import read_prompts
from oadp.utils.finite import non_finite, refuse_non_finite

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    'value, usual, faulty',
    [
        (torch.ones(2), None, False),
        (torch.tensor([1, NAN]), None, True),
        (torch.tensor([1, -INF]).half(), None, True),
        (torch.tensor([2**62]), None, False),
        (torch.tensor([0, -INF]), torch.tensor([0, -INF]), False),
        (torch.tensor([0, -INF]), torch.tensor([0.0, 1.0]), True),
    ],
)
def test_non_finite(value: torch.Tensor, usual: torch.Tensor | None, faulty: bool) -> None:
    found = non_finite({'x': value}, None if usual is None else {'x': usual})
    assert found == (['x'] if faulty else [])


def test_the_message_names_the_first_ones() -> None:
    tensors = {f't{i}': torch.tensor(NAN) for i in range(9)}
    with pytest.raises(ValueError, match=r'w\.pth: .* t0, t1, t2, t3, t4, … \(9 in all\); do so'):
        refuse_non_finite(tensors, 'w.pth', 'do so')


def test_features(tmp_path: pathlib.Path) -> None:
    store = open_store(tmp_path / 'globals', 'globals')
    record = torch.full((4,), NAN).half()
    with pytest.raises(ValueError, match=r'000000000007\.pth: not written: .*not finite'):
        store.write(7, record)
    (tmp_path / 'globals').mkdir(exist_ok=True)
    torch.save(record, tmp_path / 'globals/000000000007.pth')
    with pytest.raises(ValueError, match=r'000000000007\.pth: .*not finite.*auto_fix'):
        store.read(7)


@pytest.mark.parametrize('key', ['embeddings', 'bias'])
def test_prompts(tmp_path: pathlib.Path, key: str) -> None:
    content = dict(names=['a', 'b'], embeddings=torch.eye(2), bias=torch.tensor(0.0))
    content[key] = content[key] + NAN
    torch.save(content, tmp_path / 'p.pth')
    with pytest.raises(ValueError, match=r'p\.pth: .*not finite'):
        read_prompts(tmp_path / 'p.pth')
