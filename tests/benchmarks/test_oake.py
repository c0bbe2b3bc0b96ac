"""The benchmark runs without data, on a CPU and, as far as one can be pretended, on a GPU."""

import json
import pathlib
import runpy
import sys

import pytest
import torch
from pretend_gpu import GPU, pretend_gpu

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = '--width 64 --layers 2 --images 2 --proposals 6 --seconds 0.1 --precision fp32'.split()


def measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, device: str) -> dict:
    monkeypatch.setattr(sys, 'argv', ['oake.py', *SMALL, '--device', device])
    runpy.run_path(str(ROOT / 'benchmarks/oake.py'), run_name='__main__')
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_last_line_is_json(monkeypatch, capsys):
    result = measure(monkeypatch, capsys, 'cpu')
    assert result['device'] == 'cpu' and result['peak_sides'] == [1024, 2048]
    assert 0 < result['share_of_peak'] and 0 < result['encoder_share_of_peak'] < 1
    for kind in ('objects', 'blocks', 'globals'):
        figures = result[kind]
        rates = figures['crops_per_second'], figures['encoder_crops_per_second']
        assert figures['efficiency'] == pytest.approx(rates[0] / rates[1], rel=0.02)
    ratio = result['objects']['crops_per_second'] / result['plain_crops_per_second']
    assert result['ratio'] == pytest.approx(ratio, rel=0.02)


def test_on_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'pretended')
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    large = torch.randn
    monkeypatch.setattr(torch, 'randn', lambda *size, **k: large(*(min(s, 256) for s in size), **k))
    with pretend_gpu():
        result = measure(monkeypatch, capsys, str(GPU))
    assert result['device'] == 'pretended' and 0 <= result['share_of_peak'] < 1
    assert result['peak_sides'] == [4096, 8192]


@pytest.mark.gpu
def test_on_a_real_gpu(monkeypatch, capsys):
    result = measure(monkeypatch, capsys, 'cuda')
    assert 0 < result['share_of_peak'] < 1 and 0 < result['encoder_share_of_peak'] < 1
