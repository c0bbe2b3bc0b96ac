"""Names are cleaned once, known ones keep their rows, new ones join them."""

import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

from oadp.inference.vocabulary import PromptRows, clean_names, parse_names, read_names


@pytest.mark.parametrize(
    'text, names',
    [
        pytest.param('red kite, mug', ['red kite', 'mug'], id='commas'),
        pytest.param('red kite\nmug\n', ['red kite', 'mug'], id='lines'),
        pytest.param('mug,', ['mug'], id='last comma'),
        pytest.param('mug,,cat', ['mug', '', 'cat'], id='hole stays, to be warned of'),
        pytest.param('  ', [], id='blank'),
        pytest.param('cat，fox、猫；狗;owl', ['cat', 'fox', '猫', '狗', 'owl'], id='other commas'),
        pytest.param('cat\r\nfox\r\n', ['cat', 'fox'], id='lines of Windows'),
        pytest.param('["red kite", "mug"]', ['red kite', 'mug'], id='a JSON list'),
        pytest.param(' [["cat"], ["fox", "dog"]]', ['cat', 'fox', 'dog'], id='a list of lists'),
        pytest.param('{"bases": ["cat"], "novels": ["a, b"]}', ['cat', 'a, b'], id='categories'),
        pytest.param('[]', [], id='an empty list'),
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
    with pytest.raises(FileNotFoundError, match='one name per line'):
        read_names(tmp_path / 'none.txt')
    file.write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(ValueError, match='UTF-8'):
        read_names(file)


@pytest.mark.parametrize(
    'text',
    [
        '[',
        '["cat"',
        '{"cat": 1}',
        '[1, 2]',
        '[["cat", 3]]',
        '[[["cat"]]]',
        '{',
        '[' * 100_000,
        '[NaN]',
    ],
)
def test_json_of_another_format_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match='JSON'):
        parse_names(text)
    (tmp_path / 'v.json').write_text(text)
    with pytest.raises(ValueError, match=r'v\.json: .*JSON'):
        read_names(tmp_path / 'v.json')


def test_a_vocabulary_file_of_json_and_with_chinese_commas(tmp_path):
    (tmp_path / 'v').write_text('[["cat"], ["bow, of a ship"]]')
    assert read_names(tmp_path / 'v') == ['cat', 'bow, of a ship']
    (tmp_path / 'v').write_text('猫，狗\nbow, of a ship\n', encoding='utf-8')
    assert read_names(tmp_path / 'v') == ['猫', '狗', 'bow, of a ship']


def test_many_repetitions_are_fast():
    warnings = []
    start = time.process_time()
    assert clean_names(parse_names('mug,' * 50_000), warnings.append) == ['mug']
    assert time.process_time() - start < 2
    assert warnings == ["'mug' is given twice: the first one is used"]


WORDS = st.text(st.characters(codec='utf-8', exclude_characters=',;，、；﹐﹑﹔､،؛'), min_size=1)
NAMES = WORDS.map(lambda word: ' '.join(word.split())).filter(
    lambda word: word[:1] not in ('', '[', '{')
)


@for_all(st.lists(NAMES, min_size=1), st.sampled_from([', ', '，', '、', '\n', ';', '\r\n']))
def test_names_survive_any_separator(names, separator):
    assert parse_names(separator.join(names)) == names


@for_all(st.lists(NAMES), st.booleans())
def test_names_survive_json(names, nested):
    assert parse_names(json.dumps([[name] for name in names] if nested else names)) == names


@for_all(st.text())
def test_any_text_gives_names_or_a_sentence(text):
    try:
        names = clean_names(parse_names(text), lambda _: None)
    except ValueError as e:
        assert str(e)
    else:
        assert names and all(name == ' '.join(name.split()) for name in names)


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
def test_new_names(lengths, length):
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
