"""Forged arrays: NumPy would take their numbers for pointers and crash, or fill the memory."""

import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from oadp import compat

RECONSTRUCT = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR'


def dtype(
    code: str, state: bytes = b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t'
) -> bytes:
    name = code.encode()
    return b'cnumpy\ndtype\n(U' + bytes([len(name)]) + name + b'I00\nI01\ntR' + state + b'b'


def number(n: int) -> bytes:
    return b'\x8a\x08' + n.to_bytes(8, 'little', signed=True)


def array(code: str, shape: tuple[int, ...], data: bytes, **options: bytes) -> bytes:
    dims = b'(' + b''.join(map(number, shape)) + b't'
    raw = b'B' + len(data).to_bytes(4, 'little') + data
    return RECONSTRUCT + b'(K\x01' + dims + dtype(code, **options) + b'I00\n' + raw + b'tb'


CASES = {
    'objects': array('O8', (2,), b'\x41' * 16),
    'objects by their state': array('f8', (1,), b'A' * 8, state=b'(K\x03U\x01|NNNK\x08K\x01K?t'),
    'strings': array('U2', (1,), b'A' * 8),
    'structures': array('V8', (1,), b'A' * 8),
    'times': array('M8', (1,), b'A' * 8),
    'a shape beyond its data': array('f4', (1 << 30,), b'A' * 4),
    'a shape that overflows': array('f4', (1 << 32, 1 << 32), b''),
    'a negative shape': array('f4', (-1,), b'A' * 4),
    'more data than the shape': array('f4', (1,), b'A' * 400),
    'an array filled twice': array('f4', (1,), b'A' * 4)[:-1] + b'0' + b'K\x01b',
    'the state of a function': b'cnumpy.core.multiarray\nscalar\n}b',
    'a number of zeros': b'c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R',
    'a long string that is cut off': b'\x8e' + (1 << 40).to_bytes(8, 'little'),
    'a forged scalar': b'cnumpy.core.multiarray\nscalar\n' + dtype('O8') + b'U\x08AAAAAAAA\x86R',
    'a buffer of objects': b'cnumpy.core.numeric\n_frombuffer\n(U\x08AAAAAAAA'
    + dtype('O8')
    + b'K\x01U\x01CtR',
    'a reference to another file': b'Pother\n',
}


@pytest.mark.parametrize('data', CASES.values(), ids=CASES)
def test_forged_pickles_are_refused(tmp_path: pathlib.Path, data: bytes) -> None:
    (tmp_path / 'p.pkl').write_bytes(b'\x80\x02]' + data + b'a.')
    with pytest.raises(ValueError, match=r'p\.pkl: expected a pickle of NumPy arrays of numbers'):
        compat.load_pickled_arrays(tmp_path / 'p.pkl')


def test_the_helper_writes_pickles_that_numpy_reads() -> None:
    """Else the cases above would be refused for a slip in them."""
    made = pickle.loads(b'\x80\x02' + array('f4', (2,), b'\0\0\x80?' * 2) + b'.')
    assert made.tolist() == [1, 1] and made.dtype == np.float32


def test_forged_object_numbers_allocate_no_memory(tmp_path: pathlib.Path) -> None:
    """``pickle`` written in C makes a list of that length: 32 GiB."""
    (tmp_path / 'p.pkl').write_bytes(b'\x80\x02]r\xff\xff\xff\x7f.')
    code = (
        'import resource, sys; from oadp import compat; '
        'resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30)); '
        'assert compat.load_pickled_arrays(sys.argv[1]) == []'
    )
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'p.pkl')], check=True)


@pytest.mark.parametrize('shape', [(), (0, 5), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize('code', ['<f4', '>f8', '<i8', '?', '<c8', '<f2'])
@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_numbers_of_any_kind(tmp_path: pathlib.Path, shape, code: str, protocol: int) -> None:
    value = np.asfortranarray((np.random.default_rng(0).random(shape) * 9).astype(code))
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps([value, value.sum()], protocol))
    array, total = compat.load_pickled_arrays(tmp_path / 'p.pkl')
    assert type(array) is np.ndarray and array.dtype.newbyteorder('=') == value.dtype.newbyteorder(
        '='
    )
    np.testing.assert_array_equal(array, value)
    assert total == value.sum()


def test_torch_files_with_forged_arrays_are_refused(tmp_path: pathlib.Path) -> None:
    """They name the same functions of NumPy's."""
    import zipfile

    torch.save({'a': torch.ones(1)}, tmp_path / 'good.pth')
    for i, name in enumerate(('objects', 'a shape beyond its data', 'a forged scalar')):
        path = tmp_path / f'{i}.pth'
        with zipfile.ZipFile(tmp_path / 'good.pth') as old, zipfile.ZipFile(path, 'w') as new:
            for entry in old.namelist():
                data = b'\x80\x02' + CASES[name] + b'.'
                new.writestr(entry, data if entry.endswith('data.pkl') else old.read(entry))
        with pytest.raises(ValueError, match=rf'{i}\.pth'):
            compat.load_tensors(path)
