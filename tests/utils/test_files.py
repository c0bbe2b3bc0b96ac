"""Files that are there as a whole or not at all."""

import hashlib
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from oadp.utils import files as atomic
from oadp.utils.files import atomic_symlink, atomic_write, remove_leftovers, sha256


def test_the_file_gets_its_name_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'new' / 'a.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('new')
        assert not path.exists() and temporary.parent == path.parent
    assert [p.name for p in path.parent.iterdir()] == ['a.txt']
    assert path.read_text() == 'new'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file(tmp_path: pathlib.Path, error: type) -> None:
    (tmp_path / 'a.txt').write_text('old')
    with pytest.raises(error), atomic_write(tmp_path / 'a.txt') as temporary:
        temporary.write_text('half')
        raise error
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('a.txt', 'old')]


@pytest.mark.parametrize('name', ['图' * 84 + '.p', 'x' * 255])
def test_longest_file_name(tmp_path: pathlib.Path, name: str) -> None:
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text('x')
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_existing_links_are_not_followed(tmp_path: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(atomic.secrets, 'token_hex', lambda n: '0' * 2 * n)
    victim = tmp_path / 'victim'
    victim.write_text('mine')
    with atomic_write(tmp_path / 'a') as temporary:
        pass
    temporary.symlink_to(victim)
    with pytest.raises(FileExistsError), atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('overwritten')
    assert victim.read_text() == 'mine'


def test_the_mode_follows_the_umask(tmp_path: pathlib.Path) -> None:
    with atomic_write(tmp_path / 'a'):
        pass
    (tmp_path / 'b').touch()
    assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode


def test_synced_before_it_is_renamed(tmp_path: pathlib.Path, monkeypatch) -> None:
    done = []
    monkeypatch.setattr(atomic.os, 'fsync', lambda fd: done.append(os.fstat(fd).st_size))
    with atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('12345')
        assert not done
    assert done == [5]


def test_files_of_killed_processes_are_removed(tmp_path: pathlib.Path) -> None:
    code = f"""
        import os, signal
        from oadp.utils.files import atomic_write
        with atomic_write({str(tmp_path / 'a')!r}) as temporary:
            temporary.write_text('half')
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, '-c', textwrap.dedent(code)], check=False)
    [left] = tmp_path.iterdir()
    own = tmp_path / '.notes.oadp-tmp'
    own.write_text('no temporary file of ours')
    with atomic_write(tmp_path / 'b') as running:
        assert not left.exists()
        remove_leftovers(tmp_path)
        assert running.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.notes.oadp-tmp', 'b']


def test_only_old_files_of_other_machines_are_removed(tmp_path: pathlib.Path) -> None:
    young, old = (tmp_path / f'.{8 * c}.1.{16 * c}.oadp-tmp' for c in 'ab')
    for file in (young, old):
        file.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert young.exists() and not old.exists()
    remove_leftovers(tmp_path / 'none')


def test_symlink(tmp_path: pathlib.Path) -> None:
    for target in ('a', 'b'):
        (tmp_path / target).touch()
        atomic_symlink(tmp_path / 'latest', target)
        assert os.readlink(tmp_path / 'latest') == target
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
        (b'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'),
        (b'a' * 10**6, 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'),
        (b'a' * (1 << 20), None),
    ],
)  # the vectors of FIPS 180-4, and a file of exactly one block
def test_sha256(tmp_path: pathlib.Path, content: bytes, expected: str | None) -> None:
    (tmp_path / 'a').write_bytes(content)
    assert sha256(tmp_path / 'a') == (expected or hashlib.sha256(content).hexdigest())
