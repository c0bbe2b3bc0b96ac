"""The benchmark runs without data and ends with a JSON object."""

import json
import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_last_line_is_json(thin, monkeypatch, capsys):
    argv = ['detect.py', '--config', 'oadp_ov_coco.py', '--images', '2']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(ROOT / 'benchmarks/detect.py'), run_name='__main__')
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result['images_per_second'] > 0 and result['device'] == 'cpu'
    assert set(result['share']) == {'preparation', 'backbone', 'rpn', 'heads', 'drawing'}
    assert 0.5 < sum(result['share'].values()) <= 1.001


@pytest.mark.slow
@pytest.mark.long  # starts two processes that import all there is
def test_engines_are_compared(thin, monkeypatch, capsys):
    pytest.importorskip('onnxruntime', reason='the extra `export` is not installed')
    pytest.importorskip('onnx', reason='the extra `export` is not installed')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    argv = ['detect.py', '--config', 'vild_ov_coco.py', '--images', '1', '--threads', '1', '--onnx']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(ROOT / 'benchmarks/detect.py'), run_name='__main__')
    engines = json.loads(capsys.readouterr().out.splitlines()[-1])['engines']
    assert set(engines) == {'torch', 'onnxruntime'}
    for values in engines.values():
        assert 0 < values['seconds_per_image'] < values['start_up_seconds']
        assert values['peak_memory_mb'] > 10 and values['detections'] == 300
