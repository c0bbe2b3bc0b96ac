"""A file is converted once for each content, wherever the result can be written."""

import logging
import multiprocessing
import os
import pathlib
import time

import numpy as np
import pytest

from oadp.data.converted import cache
from oadp.data.converted.array_file import ArrayWriter
from oadp.data.converted.cache import FOLDER, open_converted


@pytest.fixture(autouse=True)
def user_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home/oadp/converted'


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/x.txt').write_text('123')
    return tmp_path / 'data/x.txt'


def digits(source: pathlib.Path, version: int = 1, calls: list | None = None) -> list[int]:
    """Return the digits of a file, from its conversion."""

    def convert(writer: ArrayWriter) -> None:
        if calls is not None:
            calls.append(os.getpid())
        writer.add('digits', np.array([*map(int, source.read_text())]))

    return open_converted(source, dict(version=version), convert).array('digits').tolist()


def results(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob('*.npz'))


def test_a_file_is_converted_once(source, log, monkeypatch):
    monkeypatch.setattr(cache, '_LARGE', 3)
    calls: list = []
    assert digits(source, calls=calls) == digits(source, calls=calls) == [1, 2, 3]
    assert len(calls) == 1 and len(results(source.parent / FOLDER)) == 1
    assert 'x.txt: converting' in log.text and 'x.txt: converted in 0 s to ' in log.text


def test_an_edited_file_is_converted_again(source):
    """Also if its size and times are the same."""
    assert digits(source) == [1, 2, 3]
    times = source.stat().st_atime_ns, source.stat().st_mtime_ns
    source.write_text('456')
    os.utime(source, ns=times)
    assert digits(source) == [4, 5, 6]
    source.write_text('123')
    calls: list = []
    assert digits(source, calls=calls) == [1, 2, 3] and not calls


def test_results_do_not_depend_on_the_place_of_the_file(source, tmp_path):
    digits(source)
    source.parent.rename(tmp_path / 'moved')
    calls: list = []
    assert digits(tmp_path / 'moved/x.txt', calls=calls) == [1, 2, 3] and not calls


def test_another_version_is_converted_again(source):
    calls: list = []
    for version in (1, 2, 1, 2):
        digits(source, version, calls)
    assert len(calls) == 2


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: b'',
        lambda content: content[:-20],
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(np.int64(2).tobytes(), np.int64(7).tobytes()),
        lambda content: content.replace(b'"version": 1', b'"version": 0'),
    ],
    ids=['empty', 'end', 'half', 'a value', 'the key'],
)
def test_a_damaged_result_is_made_again(source, log, damage):
    digits(source)
    [path] = results(source.parent / FOLDER)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    log.clear()
    assert digits(source) == [1, 2, 3]
    assert path.read_bytes() == content
    assert f'{path}: damaged' in log.text and log.records[0].levelno == logging.WARNING


def test_a_result_of_another_file_is_not_used(source, log):
    digits(source)
    [first] = results(source.parent / FOLDER)
    source.write_text('456')
    digits(source)
    [second] = {*results(source.parent / FOLDER)} - {first}
    second.write_bytes(first.read_bytes())
    assert digits(source) == [4, 5, 6] and 'made of another file' in log.text


def test_folders_that_cannot_be_written(source, user_folder, tmp_path):
    (source.parent / FOLDER).write_text('a file instead of a folder')
    calls: list = []
    assert digits(source, calls=calls) == digits(source, calls=calls) == [1, 2, 3]
    assert len(calls) == 1 and len(results(user_folder)) == 1
    results(user_folder)[0].unlink()
    (user_folder / 'lock').unlink()
    user_folder.rmdir()
    user_folder.write_text('')
    with pytest.raises(OSError, match='x.txt is converted to .* set XDG_CACHE_HOME'):
        digits(source)


@pytest.mark.skipif(os.geteuid() == 0, reason='root writes to any folder')
def test_read_only_folder(source, user_folder):
    source.parent.chmod(0o555)
    try:
        assert digits(source) == [1, 2, 3] and len(results(user_folder)) == 1
    finally:
        source.parent.chmod(0o755)


def test_a_read_only_file_system(source, user_folder, monkeypatch):
    make = pathlib.Path.mkdir

    def mkdir(path, *args, **kwargs):
        if path.name == FOLDER:
            raise OSError(30, 'Read-only file system')
        make(path, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, 'mkdir', mkdir)
    assert digits(source) == [1, 2, 3] and len(results(user_folder)) == 1


def test_a_failed_conversion_leaves_nothing(source):
    source.write_text('x')
    with pytest.raises(ValueError, match='invalid literal'):
        digits(source)
    assert [p.name for p in (source.parent / FOLDER).iterdir()] == ['lock']
    source.write_text('1')
    assert digits(source) == [1]


def test_a_file_that_changes_meanwhile_is_an_error(source):
    def convert(writer):
        source.write_text('456')

    with pytest.raises(ValueError, match='x.txt: changed while it was read'):
        open_converted(source, {}, convert)
    assert not results(source.parent / FOLDER)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_converted(tmp_path / 'none', {}, lambda writer: None)


def _start(source: pathlib.Path, barrier, calls) -> None:
    def convert(writer: ArrayWriter) -> None:
        calls.put(os.getpid())
        time.sleep(0.2)
        writer.add('digits', np.array([*map(int, source.read_text())]))

    barrier.wait()
    assert open_converted(source, {}, convert).array('digits').tolist() == [1, 2, 3]


@pytest.mark.parametrize('with_locks', [True, False])
def test_processes_that_start_at_once(source, monkeypatch, with_locks):
    """One converts and the others wait; without locks, all convert, and each gets a whole result."""
    if not with_locks:
        monkeypatch.setattr(cache.fcntl, 'flock', _no_locks)
    context = multiprocessing.get_context('fork')
    barrier, calls = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_start, args=(source, barrier, calls)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (calls.qsize() == 1) == with_locks
    assert len(results(source.parent / FOLDER)) == 1


def _no_locks(*_):
    raise OSError(37, 'No locks available')


def test_unused_results_of_older_contents_are_removed(source, tmp_path):
    folder = source.parent / FOLDER
    made = {}
    for content in ('1', '2', '3'):
        source.write_text(content)
        digits(source)
        made[content] = ({*results(folder)} - {*made.values()}).pop()
    other = source.with_name('x-other.txt')
    other.write_text('9')
    digits(other)
    assert len(results(folder)) == 4, 'they may be in use'
    day_ago = time.time() - 25 * 3600
    for path in results(folder):
        os.utime(path, (day_ago, day_ago))
    source.write_text('2')
    digits(source)  # is used again
    source.write_text('4')
    digits(source)
    left = results(folder)
    assert made['2'] in left and not {made['1'], made['3']} & {*left}
    assert any(p.name.startswith('x-other-') for p in left)
