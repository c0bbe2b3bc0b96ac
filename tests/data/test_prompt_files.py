"""Reading and writing prompt files."""

import pytest
import torch

from oadp.data.prompt_files import read_prompts, save_prompts


def test_round_trip(tmp_path):
    path = tmp_path / 'a' / 'p.pth'
    scaler = torch.nn.Parameter(torch.tensor(20.0))
    save_prompts(path, ('x', 'y'), torch.eye(2).half(), scaler=scaler, bias=torch.tensor(4))
    content = torch.load(path, weights_only=True)
    assert content['names'] == ['x', 'y'] and content['embeddings'].equal(torch.eye(2))
    assert content['scaler'].shape == () and not content['scaler'].requires_grad
    assert content['bias'].dtype == torch.float32 and float(content['bias']) == 4


def test_wrong_values_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r'each of 1 names, found a tensor of shape \(2, 2\)'):
        save_prompts(tmp_path / 'p.pth', ['x'], torch.eye(2))
    with pytest.raises(ValueError, match=r"not finite: \['y'\]"):
        save_prompts(tmp_path / 'p.pth', ['x', 'y'], torch.tensor([[1.0], [float('nan')]]))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    save_prompts(tmp_path / 'p.pth', ['x'], torch.ones(1, 1))

    def fail(content, path):
        path.write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='disk full'):
        save_prompts(tmp_path / 'p.pth', ['y'], torch.ones(1, 1))
    monkeypatch.undo()
    assert torch.load(tmp_path / 'p.pth')['names'] == ['x']
    assert [p.name for p in tmp_path.iterdir()] == ['p.pth']


def test_read(tmp_path, golden):
    released = read_prompts(golden / 'world/data/prompts/ml_coco.pth')
    assert len(released['names']) == 65 and released['embeddings'].shape == (65, 512)
    assert float(released['scaler']) == 18.5 and float(released['bias']) == 3.75
    save_prompts(tmp_path / 'p.pth', released['names'], released['embeddings'])
    assert read_prompts(tmp_path / 'p.pth').keys() == {'names', 'embeddings'}


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (torch.zeros(2, 2), 'found Tensor'),
        ({'state_dict': {}}, r"found \['state_dict'\]"),
        ({'names': ['a'], 'embeddings': torch.zeros(2, 2)}, r'each of 1 names.*\(2, 2\)'),
    ],
)
def test_read_other_content(content, match, tmp_path):
    torch.save(content, tmp_path / 'p.pth')
    with pytest.raises(ValueError, match=match):
        read_prompts(tmp_path / 'p.pth')


def test_read_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='"Prompts" of the README'):
        read_prompts(tmp_path / 'p.pth')
