"""Outputs stay in their folder, apart from each other and from what is read."""

import os
import pathlib

import pytest

from oadp.utils import output_names
from oadp.utils.output_names import check_apart, check_file, check_folder, output_stems


@pytest.mark.parametrize(
    ('names', 'stems'),
    [
        pytest.param(['x.jpg', 'val2017/y.jpg'], ['x', 'val2017/y'], id='as they are'),
        pytest.param(['x.png', 'x.bmp', 'X.jpg'], ['x', 'x_2', 'X_3'], id='but for the suffix'),
        pytest.param(
            ['x.png', 'x.jpg', 'X.jpg', 'x_2.jpg'], ['x', 'x_2', 'X_3', 'x_2_2'], id='taken'
        ),
        pytest.param(['../val/x.jpg', '../../y.jpg'], ['val/x', 'y'], id='out of the folder'),
        pytest.param(['a/../../x.jpg', './y.jpg'], ['a/x', 'y'], id='dots within'),
        pytest.param(['/home/me/x.jpg', '//x.jpg'], ['x', 'x_2'], id='absolute'),
        pytest.param(
            ['..\\..\\x.jpg', 'C:\\me\\y.jpg', 'a\\z.jpg'], ['x', 'y', 'a/z'], id='Windows'
        ),
        pytest.param(['', '..', 'a\0b\n.jpg'], ['image', 'image_2', 'a_b_'], id='no name at all'),
        pytest.param(['x', 'a.b.jpg', '.x'], ['x', 'a.b', '.x'], id='without a suffix'),
        pytest.param(['a.jpg/x.png', 'a.png'], ['a.jpg/x', 'a_2'], id='folder with a suffix'),
        pytest.param(['e\u0301.jpg', '\xe9.jpg'], ['e\u0301', '\xe9_2'], id='accents'),
        pytest.param(['图' * 83 + '.png'], ['图' * 83], id='the longest name'),
    ],
)
def test_output_stems(names, stems):
    assert output_stems(names) == stems


def test_long_names_are_cut_and_stay_distinct(tmp_path):
    names = ['图' * 83 + 'ab.png', '图' * 83 + 'ac.png', '图' * 83 + 'ab.jpg', 'x' * 300 + '/a.png']
    stems = output_stems(names)
    assert len(set(stems)) == 4
    for stem in stems:
        path = tmp_path / f'{stem}.jpg'
        path.parent.mkdir(exist_ok=True)
        path.touch()  # the file system takes it


def test_names_that_are_not_unicode():
    [stem] = output_stems([os.fsdecode(b'\xff' * 300 + b'.jpg')])
    assert len(os.fsencode(stem)) <= 251


@pytest.mark.parametrize('folder', ['images', 'link', 'out/../images'])
def test_outputs_in_a_folder_of_inputs_are_refused(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'link').symlink_to('images')
    sources = [tmp_path / 'images/a.png', tmp_path / 'other/b.png']
    with pytest.raises(ValueError, match='holds images that are read.*--show-dir'):
        check_apart('--show-dir', [pathlib.Path(folder, 'a.jpg')], sources)
    check_apart('--show-dir', [pathlib.Path('out/a.jpg'), pathlib.Path('images/x/a.jpg')], sources)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder.json').mkdir()
    (tmp_path / 'file.json').touch()
    (tmp_path / 'gone').symlink_to('nowhere')
    return tmp_path


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('a.txt', r'--out a.txt: expected a name that ends in .json'),
        ('folder.json', 'expected a file, and this is a folder'),
        ('file.json/a.json', 'file.json is not a folder'),
        ('gone/a.json', 'gone is not a folder'),
        ('input.json', 'this file is read'),
        ('x' * 300 + '.json', 'cannot be written .File name too long'),
    ],
)
def test_bad_destinations(place, path, message):
    (place / 'input.json').touch()
    with pytest.raises(ValueError, match=message):
        check_file('--out', pathlib.Path(path), ['.json'], ['input.json', 'none'])


def test_good_destinations(place):
    for path in ('file.json', 'new/a.JSON', 'folder.json/a.json', place / 'b.json'):
        check_file('--out', pathlib.Path(path), ['.json'], ['input.json'])
    check_folder('--show-dir', pathlib.Path('folder.json'))
    check_folder('--show-dir', pathlib.Path('a/b/c'))


@pytest.mark.parametrize('path', ['file.json', 'file.json/a', 'gone'])
def test_bad_folders(place, path):
    with pytest.raises(ValueError, match='--show-dir: .* is not a folder'):
        check_folder('--show-dir', pathlib.Path(path))


def test_folders_that_may_not_be_written_to(place, monkeypatch):
    monkeypatch.setattr(output_names.os, 'access', lambda path, mode: False)
    with pytest.raises(ValueError, match='may not be written to'):
        check_folder('--show-dir', pathlib.Path('new'))
    with pytest.raises(ValueError, match='may not be written to'):
        check_file('--out', pathlib.Path('new/a.json'))
