"""The screenshot needs Chromium; tests/test_web.py fills in the page in the same way."""

import runpy

import pytest
from conftest import ROOT

pytest.importorskip('selenium', reason='the extra `dev` is not installed')


def test_error_without_chromium(tmp_path, monkeypatch):
    tool = runpy.run_path(str(ROOT / 'tools/web_screenshot.py'))
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='apt-get install chromium'):
        tool['open_browser'](str(tmp_path))


def test_an_image_is_required(capsys):
    tool = runpy.run_path(str(ROOT / 'tools/web_screenshot.py'))
    with pytest.raises(SystemExit):
        tool['main'](['oadp_ov_coco', 'latest.pth', '--out', 'web.png'])
    assert '--image' in capsys.readouterr().err
