"""The benchmark runs without data and ends with a JSON object."""

import json
import pathlib
import runpy
import sys

import pytest
import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / 'benchmarks'


def measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *argv: str) -> dict:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, 'argv', ['train.py', '--small', *argv])
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(FOLDER / 'train.py'), run_name='__main__')
    finally:
        torch.set_num_threads(threads)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize('repeats', [pytest.param('0', marks=pytest.mark.long), '1'])
def test_last_line_is_json(monkeypatch, capsys, repeats: str):
    argv = ['--device', 'cpu', '--threads', '1', '--repeats', repeats]
    result = measure(monkeypatch, capsys, *argv, '--variants', 'plain', 'oadp', 'separate')
    plain, oadp, separate = (result[name] for name in ('plain', 'oadp', 'separate'))
    assert plain['ratio_min'] == plain['cpu_ratio'] == plain['flop_ratio'] == 1
    assert oadp['flop_ratio'] == separate['flop_ratio'] > 1
    assert plain['operations'] < oadp['operations'] < separate['operations']
    assert oadp['host_waits'] < plain['host_waits'] < separate['host_waits']
    assert sum(sum(both) for both in plain['share'].values()) == pytest.approx(1, abs=0.01)
    assert {'object_head', 'block_head', 'global_head', 'distillation'} <= set(oadp['share'])


@pytest.mark.gpu
def test_on_a_gpu(monkeypatch, capsys):
    result = measure(monkeypatch, capsys, '--device', 'cuda')
    assert result['oadp']['host_waits'] <= result['plain']['host_waits']
    assert result['vild']['ratio_min'] > 0 and result['device'] != 'cpu'
