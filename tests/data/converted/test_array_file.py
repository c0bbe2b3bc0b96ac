"""Parts of a file are shared between processes, and a damaged file is not read."""

import pathlib
import pickle

import numpy as np
import pytest

from oadp.data.converted.array_file import ArrayFile, ArrayWriter

ARRAYS = dict(
    ids=np.arange(5),
    empty=np.zeros((0, 4), np.float32),
    boxes=np.arange(12.0).reshape(3, 4),
    flags=np.array([True, False, True]),
)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    with ArrayWriter(tmp_path / 'a.npz') as writer:
        for name, array in ARRAYS.items():
            writer.add(name, array)
        writer.add_bytes('text', [b'abc', memoryview(b'defg')])
    return tmp_path / 'a.npz'


def test_parts_are_read_as_they_were_written(file):
    opened = ArrayFile(file)
    for again in (opened, pickle.loads(pickle.dumps(opened))):
        for name, array in ARRAYS.items():
            got = again.array(name)
            np.testing.assert_array_equal(got, array)
            assert got.dtype == array.dtype and got.flags.aligned
        assert again.size('text') == 7 and again.read('text', 2, 6) == b'cdef'
        assert again.read('text', 7, 7) == b''


def test_arrays_cannot_be_changed(file):
    with pytest.raises(ValueError, match='read-only'):
        ArrayFile(file).array('ids')[0] = 1


def test_only_the_path_is_pickled(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    content = pickle.dumps(ArrayFile(file.name))
    assert len(content) < 300
    monkeypatch.chdir('/')
    assert pickle.loads(content).read('text', 0, 3) == b'abc'


def test_numpy_reads_the_file(file):
    with np.load(file, allow_pickle=False) as loaded:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(loaded[name], array)


def test_equal_parts_make_equal_files(file, tmp_path):
    first = file.read_bytes()
    with ArrayWriter(tmp_path / 'b.npz') as writer:
        for name, array in ARRAYS.items():
            writer.add(name, array)
        writer.add_bytes('text', [b'abcdefg'])
    assert (tmp_path / 'b.npz').read_bytes() == first


def test_a_changed_byte_is_noticed_or_is_no_content(file):
    content = file.read_bytes()
    for i in range(0, len(content), 7):
        file.write_bytes(content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :])
        try:
            opened = ArrayFile(file)
            got = {name: opened.array(name) for name in ARRAYS}
            assert opened.read('text', 0, 7) == b'abcdefg'
        except ValueError as e:
            assert str(file) in str(e)
            continue
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(got[name], array)


def test_a_truncated_file_is_an_error(file):
    content = file.read_bytes()
    for size in range(0, len(content), 13):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match='a.npz: damaged'):
            ArrayFile(file)


def test_unknown_parts_are_an_error(file):
    with pytest.raises(ValueError, match="has no boxes; it has .*'boxes.npy'"):
        ArrayFile(file).size('boxes')


def test_objects_are_not_read(tmp_path):
    np.savez(tmp_path / 'a.npz', a=np.array([{}], object))
    with pytest.raises(ValueError, match='a is no array'):
        ArrayFile(tmp_path / 'a.npz').array('a')
