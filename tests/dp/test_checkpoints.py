import pathlib
import types

import pytest
import torch

from oadp.compat import load_tensors
from oadp.dp import checkpoints, runners


def save(folder: pathlib.Path, step: int, **options) -> None:
    path = folder / f'iter_{step}.pth'
    checkpoints.save_checkpoint(path, dict(state_dict=dict(x=torch.tensor(step))), **options)


def test_latest_is_a_link_to_the_newest(tmp_path: pathlib.Path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    save(tmp_path, 3, link=False)
    assert {p.name for p in tmp_path.iterdir()} == {
        'iter_1.pth', 'iter_2.pth', 'iter_3.pth', 'latest.pth',
    }  # fmt: skip
    assert load_tensors(tmp_path / 'latest.pth')['state_dict']['x'] == 2


def test_interrupted_writing_leaves_the_old(tmp_path: pathlib.Path, monkeypatch):
    save(tmp_path, 1)

    def cut_off(data: object, path: pathlib.Path) -> None:
        pathlib.Path(path).write_bytes(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, 'save', cut_off)
        save(tmp_path, 2)
    assert not (tmp_path / 'iter_2.pth').exists()
    assert load_tensors(tmp_path / 'latest.pth')['state_dict']['x'] == 1
    save(tmp_path, 2)
    assert not list(tmp_path.glob('.*'))  # what was left is gone


@pytest.mark.parametrize(
    ('config', 'device', 'expected'),
    [
        (dict(validator=dict(fp16=dict())), 'cuda', True),
        (dict(validator=dict(fp16=dict())), 'cpu', False),
        (dict(validator=dict(fp16=None)), 'cuda', False),
        (dict(validator=dict()), 'cuda', False),
        (dict(data=dict(test=dict())), 'cuda', False),
    ],
    ids=['on a GPU', 'not on a CPU', 'switched off', 'not asked for', "a config of mmdet's own"],
)
def test_half_precision(config: dict, device: str, expected: bool):
    assert checkpoints.computes_in_half(config, torch.device(device)) is expected


def test_weights_that_are_not_finite_are_not_written(tmp_path: pathlib.Path):
    """Gradients without a finite number spoil them in a step whose loss was finite."""
    runner = object.__new__(runners.RUNNERS['IterBasedRunner'])
    layer = torch.nn.Linear(2, 2)
    runner.model = types.SimpleNamespace(module=layer)
    runner.meta, runner._epoch, runner._iter = {}, 0, 4
    runner.save_checkpoint(tmp_path, save_optimizer=False)
    layer.weight.data[0, 0] = float('nan')
    runner._iter = 5
    with pytest.raises(ValueError, match=r'iter_6\.pth: NaN or infinity in weight; not written'):
        runner.save_checkpoint(tmp_path, save_optimizer=False)
    assert (tmp_path / 'latest.pth').readlink() == pathlib.Path('iter_5.pth')
