"""Truncated packed stores raise an error; mapping them would kill the process (SIGBUS)."""

import pathlib
import subprocess
import sys

import pytest
import torch

from oadp.data.features.lmdb_file import check_length
from oadp.data.features.stores import open_store


def make_store(path: pathlib.Path, count: int = 40) -> pathlib.Path:
    store = open_store(path, 'globals')
    for image_id in [*range(count), *range(0, count, 3)]:  # some of them replaced
        store.write(image_id, torch.full((512,), image_id).half())
    return path / 'data.mdb'


def test_complete_stores(tmp_path: pathlib.Path) -> None:
    for count in (0, 1, 40):
        file = make_store(tmp_path / f'{count}.lmdb', count)
        if count:
            check_length(file)


@pytest.mark.parametrize('kept', [0.9, 0.5, 0.1, 0.01, 0])
def test_truncated_stores(tmp_path: pathlib.Path, kept: float) -> None:
    """In a separate process, since without the check the process is killed."""
    file = make_store(tmp_path / 'a.lmdb')
    content = file.read_bytes()
    (tmp_path / 'b.lmdb').mkdir()
    cut = tmp_path / 'b.lmdb/data.mdb'
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r'b\.lmdb/data\.mdb: (truncated|expected a packed store)'):
        check_length(cut)
    if kept == 0.5:
        code = (
            'import sys; from oadp.data.features.stores import open_store; '
            "s = open_store(sys.argv[1], 'globals'); [s.read(i) for i in s.ids()]"
        )
        done = subprocess.run(
            [sys.executable, '-c', code, str(tmp_path / 'b.lmdb')], capture_output=True, text=True
        )
        assert done.returncode == 1, 'not killed by a signal'
        assert 'truncated' in done.stderr


def test_other_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'data.mdb').write_bytes(b'no database' * 1000)
    with pytest.raises(ValueError, match=r'data\.mdb: expected a packed store'):
        check_length(tmp_path / 'data.mdb')
