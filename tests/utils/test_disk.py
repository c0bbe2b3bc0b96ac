"""A full disk: /dev/full is one that every Linux has."""

import errno
import pathlib
import shutil

import pytest
import torch

from oadp.data.features.stores import open_store
from oadp.utils.disk import naming_full_disk
from oadp.utils.files import atomic_write


def test_the_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match='No space left') as e, naming_full_disk(tmp_path / 'w.json'):
        with open('/dev/full', 'w') as file:
            file.write('x')
    assert e.value.filename == str(tmp_path / 'w.json')


def test_an_atomic_write(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match='No space left') as e:
        with atomic_write(tmp_path / 'w.json'):
            raise OSError(errno.ENOSPC, 'No space left on device')
    assert e.value.filename == str(tmp_path / 'w.json')
    assert not list(tmp_path.iterdir())


def test_errors_of_torch(tmp_path: pathlib.Path, monkeypatch) -> None:
    def save() -> None:
        with naming_full_disk(tmp_path / 'w.pth'):
            torch.save(torch.zeros(1 << 16), '/dev/full')

    with pytest.raises(RuntimeError, match='enforce fail'):
        save()
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OSError, match='No space left') as e:
        save()
    assert e.value.filename == str(tmp_path / 'w.pth')


def test_other_errors_stay(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PermissionError), naming_full_disk(tmp_path / 'x'):
        raise PermissionError(errno.EACCES, 'Permission denied', 'y')


def test_features_on_a_full_disk(tmp_path: pathlib.Path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    store = open_store(tmp_path, 'globals')
    with pytest.raises(OSError) as e:
        store.write(7, torch.ones(4).half())
    assert e.value.filename == str(tmp_path / '000000000007.pth')
