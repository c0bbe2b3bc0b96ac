"""The benchmark runs without data and ends with a JSON object."""

import json
import pathlib
import runpy
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_last_line_is_json(thin, monkeypatch, capsys):
    argv = ['detect.py', '--config', 'oadp_ov_coco.py', '--images', '2']
    monkeypatch.setattr(sys, 'argv', argv)
    runpy.run_path(str(ROOT / 'benchmarks/detect.py'), run_name='__main__')
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result['images_per_second'] > 0 and result['device'] == 'cpu'
    assert set(result['share']) == {'preparation', 'backbone', 'rpn', 'heads', 'drawing'}
    assert 0.5 < sum(result['share'].values()) <= 1.001
