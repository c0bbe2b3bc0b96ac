"""The arrays of a pickle are read one at a time, as they are when it is read as a whole."""

import collections
import io
import pickle
import pickletools

import numpy as np
import pytest

from oadp.compat import PickledArray, load_pickled_arrays, locate_pickled_arrays

RNG = np.random.default_rng(0)
SHARED = RNG.random((30, 5)).astype(np.float32)
CONTENT = [
    RNG.random((1000, 5)).astype(np.float32),
    np.zeros((0, 5), np.float32),
    RNG.random((3, 5)),
    np.asfortranarray(RNG.random((40, 5))),
    RNG.integers(-9, 9, (100, 5)),
    RNG.random((64, 5)).astype('>f4'),
    SHARED,
    SHARED,
    RNG.random((100, 10))[:, ::2],
]


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize('protocol', range(6))
def test_equal_to_a_pickle_read_as_a_whole(tmp_path, protocol):
    file = write(tmp_path / 'p.pkl', CONTENT, protocol)
    located, whole = locate_pickled_arrays(file), load_pickled_arrays(file)
    assert all(type(array) is PickledArray for array in located)
    with file.open('rb') as f:
        for array, expected, original in zip(located, whole, CONTENT, strict=True):
            got = array.load(f)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(got, original)
    assert located[6] is located[7]


def test_strings_of_python_2(tmp_path):
    """Python 2 writes the data of an array as a string, whose opcode Python 3 does not write."""
    data = SHARED.tobytes()
    content = pickle.dumps([SHARED], 2)
    text = data.decode('latin1').encode('utf-8')
    unicode = b'X' + len(text).to_bytes(4, 'little') + text
    start = content.index(unicode)
    begin = start - 2  # `_codecs.encode`, from the memo
    assert content[begin:start] == b'h\x04'
    end = content.index(b'R', start + len(unicode))  # of the call
    string = b'T' + len(data).to_bytes(4, 'little') + data
    file = tmp_path / 'p.pkl'
    file.write_bytes(content[:begin] + string + content[end + 1 :])
    pickletools.dis(file.read_bytes(), out=io.StringIO())  # is a pickle
    [located] = locate_pickled_arrays(file)
    with file.open('rb') as f:
        np.testing.assert_array_equal(located.load(f), SHARED)


@pytest.mark.parametrize('protocol', [2, 4])
def test_other_values_are_read(tmp_path, protocol):
    content = dict(a=[1, 2.5, 'x', None, (True,)], b='y' * 100, c=collections.OrderedDict(d=b'12'))
    file = write(tmp_path / 'p.pkl', content, protocol)
    assert locate_pickled_arrays(file) == load_pickled_arrays(file) == content


def test_forged_arrays_are_refused(tmp_path):
    content = pickle.dumps([SHARED], 4)
    shape = b'K\x1eK\x05\x86'  # 30, 5, a tuple of both
    assert content.count(shape) == 1
    file = tmp_path / 'p.pkl'
    file.write_bytes(content.replace(shape, b'K\x1fK\x05\x86'))
    [located] = locate_pickled_arrays(file)
    with file.open('rb') as f, pytest.raises(ValueError, match='array of float32 of shape'):
        located.load(f)


@pytest.mark.parametrize(
    'content',
    [
        pickle.dumps([print]),
        pickle.dumps([np.array(['x' * 400])]),
        pickle.dumps([np.array([{}], object)]),
        pickle.dumps([SHARED])[:-100],
        b'',
        b'X\xff\xff\xff\xffx.',
        b'B\xff\xff\xff\xffx.',
    ],
)
def test_what_is_not_admitted_is_an_error_as_before(tmp_path, content):
    file = tmp_path / 'p.pkl'
    file.write_bytes(content)
    with pytest.raises(ValueError) as expected:
        load_pickled_arrays(file)
    with pytest.raises(ValueError) as found:
        locate_pickled_arrays(file)
    assert str(found.value) == str(expected.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        locate_pickled_arrays(tmp_path / 'none.pkl')
