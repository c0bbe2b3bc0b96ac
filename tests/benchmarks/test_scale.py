"""The benchmark makes its files, measures all processes, and ends with a JSON object."""

import json
import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,  # starts processes that import all there is
    pytest.mark.skipif(not pathlib.Path('/proc/self/smaps_rollup').exists(), reason='needs Linux'),
]


@pytest.mark.parametrize(
    'case',
    [
        pytest.param('coco', marks=pytest.mark.long),
        'lvis',
        pytest.param('proposals', marks=pytest.mark.long),
    ],
)
def test_last_line_is_json(case, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    options = ['--images', '60', '--ranks', '1', '--workers', '1', '--folder', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['scale.py', '--cases', case, *options])
    runpy.run_path(str(ROOT / 'benchmarks/scale.py'), run_name='__main__')
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(lines[-1])[case]
    assert figures['images'] == 60 and figures['file_mb'] >= 0
    for way in ('oadp', 'mmdet'):
        assert figures[way]['seconds'] >= 0 and figures[way]['peak_mb'] >= 0
        assert any(line.startswith(f'{case} {way}') for line in lines)
    assert figures['oadp']['first_seconds'] >= 0 and figures['oadp']['cache_mb'] >= 0
    assert not list(tmp_path.iterdir()), 'the files are removed'
