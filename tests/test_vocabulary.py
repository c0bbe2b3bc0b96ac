"""Names are cleaned once, known ones keep their rows, new ones join them."""

import numpy as np
import pytest
import torch

from oadp.vocabulary import PromptRows, clean_names, parse_names, read_names


@pytest.mark.parametrize(
    'text, names',
    [
        pytest.param('red kite, mug', ['red kite', 'mug'], id='commas'),
        pytest.param('red kite\nmug\n', ['red kite', 'mug'], id='lines'),
        pytest.param('mug,', ['mug'], id='last comma'),
        pytest.param('mug,,cat', ['mug', '', 'cat'], id='hole stays, to be warned of'),
        pytest.param('  ', [], id='blank'),
    ],
)
def test_parse_names(text, names):
    assert parse_names(text) == names


@pytest.mark.parametrize(
    'given, kept, warning',
    [
        pytest.param(['a  b', ' c'], ['a b', 'c'], None, id='white space'),
        pytest.param(['a', '', 'b'], ['a', 'b'], 'empty', id='empty'),
        pytest.param(['Mug', 'mug', 'mug'], ['Mug'], "'mug' is given twice", id='repeated'),
    ],
)
def test_clean_names(given, kept, warning):
    warnings = []
    assert clean_names(given, warnings.append) == kept
    assert (warning is None and not warnings) or warning in warnings[0]


@pytest.mark.parametrize(
    'given, error, message',
    [
        pytest.param('mug', TypeError, 'parse_names', id='a string'),
        pytest.param(['mug', 3], TypeError, '3', id='a number'),
        pytest.param([], ValueError, 'at least one', id='none'),
        pytest.param(['', ' '], ValueError, 'at least one', id='only empty ones'),
        pytest.param(
            ['x' * 201, 'mug', 'y' * 300], ValueError, r'\(201\).*\(300\)', id='over-long'
        ),
    ],
)
def test_clean_names_refuses(given, error, message):
    with pytest.raises(error, match=message):
        clean_names(given, lambda _: None)


def test_read_names(tmp_path):
    file = tmp_path / 'words.txt'
    file.write_bytes('\ufeffcafé\n\n  bow, of a ship \r\nmug'.encode())
    assert read_names(file) == ['café', 'bow, of a ship', 'mug']
    with pytest.raises(FileNotFoundError, match='a name a line'):
        read_names(tmp_path / 'none.txt')
    file.write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(ValueError, match='UTF-8'):
        read_names(file)


def rows(*lengths: float) -> PromptRows:
    embeddings = np.eye(4, dtype=np.float32)[: len(lengths)] * np.float32(lengths)[:, None]
    return PromptRows('p.pth', ('cat', 'wine_glass', 'Dog')[: len(lengths)], embeddings)


def refuse(names):
    raise AssertionError(f'{names} embedded, though the file has them')


def test_known_names_keep_their_rows():
    matrix = rows(0.9, 0.8, 0.7).matrix(['dog', 'cat', 'wine glass'], refuse)
    expected = np.float32([[0, 0, 0.7, 0], [0.9, 0, 0, 0], [0, 0.8, 0, 0]])
    assert matrix.dtype == np.float32 and np.array_equal(matrix, expected)


@pytest.mark.parametrize(
    'lengths, length',
    [
        pytest.param((0.9, 0.8), 0.5, id='as it is among means of unit vectors'),
        pytest.param((1.0, 1.0), 1.0, id='of unit length among learned prompts'),
    ],
)
def test_new_names_join(lengths, length):
    asked = []

    def embed(names):
        asked.append(names)
        return torch.tensor([[0, 0, 0, 0.5]])

    matrix = rows(*lengths).matrix(['cat', 'mug'], embed)
    assert asked == [['mug']]
    assert np.array_equal(matrix[0], rows(*lengths).embeddings[0])
    np.testing.assert_allclose(matrix[1], [0, 0, 0, length], rtol=1e-6)


def test_another_clip_is_refused():
    with pytest.raises(ValueError, match='3 numbers, p.pth has 4.*--clip'):
        rows(0.9).matrix(['mug'], lambda names: torch.ones(1, 3))
