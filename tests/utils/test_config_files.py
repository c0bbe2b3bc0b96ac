"""Shipped configs are found by name from any folder."""

import logging
import pathlib

import pytest

from oadp.utils.config import load_config
from oadp.utils.config_files import find_config

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('name', ['configs/dp/oadp_ov_coco.py', 'dp/oadp_ov_coco', 'oadp_ov_coco'])
def test_names_of_a_shipped_config(name, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger('oadp'), 'propagate', True)
    file = ROOT / 'configs/dp/oadp_ov_coco.py'
    assert find_config(name) == file
    assert f'{name}: using the shipped config {file}' in caplog.text


def test_bases_of_a_shipped_config_are_read():
    assert load_config('oadp_ov_coco') == load_config(ROOT / 'configs/dp/oadp_ov_coco.py')


def test_a_file_of_the_user_comes_first(elsewhere):
    file = pathlib.Path('configs/dp/oadp_ov_coco.py')
    file.parent.mkdir(parents=True)
    file.write_text('mine = 1')
    assert find_config(file) == file
    assert load_config(file).mine == 1


@pytest.mark.parametrize(
    'name',
    [
        'oadp_ov_coco.py',
        'configs/no.py',
        'no',
        'configs',
        'dp/no',
        '../configs/dp/oadp_ov_coco',
        '',
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(FileNotFoundError, match='no such config; expected a file, or the name'):
        find_config(name)


def test_ambiguous_name():
    with pytest.raises(
        ValueError, match='several shipped configs.*: mini/oake/globals, oake/globals'
    ):
        find_config('globals')
