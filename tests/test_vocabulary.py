"""Names are cleaned once; their embeddings are the prompt file's own, and CLIP is needed once."""

import pathlib
import threading

import pytest
import torch

from oadp import vocabulary
from oadp.vocabulary import PromptRows, TextEmbedder, clean_names, parse_names, read_names

CLIP = 'world/pretrained/clip/ViT-B-32.pt'


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


@pytest.fixture
def clip_file(golden: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / 'clip.pt'
    file.symlink_to(golden / CLIP)
    return file


def test_embeddings_are_the_rows_of_the_prompt_file(clip_file, golden, tmp_path):
    expected = torch.load(golden / 'expected/prompts/vild.pth', weights_only=True)
    names = ['zebra', 'cat', 'airplane']
    rows = expected['embeddings'][[expected['names'].index(name) for name in names]]
    assert not torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-3)
    torch.testing.assert_close(
        TextEmbedder(clip_file, tmp_path / 'cache')(names), rows, atol=1e-5, rtol=0
    )


def test_second_run_needs_no_clip(clip_file, tmp_path, monkeypatch):
    first = TextEmbedder(clip_file, tmp_path / 'cache')(['red kite', 'mug'])
    loads = []
    load_clip = vocabulary.load_clip
    monkeypatch.setattr(
        vocabulary, 'load_clip', lambda *args: loads.append(args) or load_clip(*args)
    )
    again = TextEmbedder(clip_file, tmp_path / 'cache')
    assert torch.equal(again(['mug', 'red kite']), first.flip(0))
    assert not loads, 'known names in another order'
    again(['mug', 'tea pot'])
    again(['cup'])
    assert len(loads) == 1, 'loaded for a new name, and kept'
    clip_file.unlink()
    gone = TextEmbedder(clip_file, tmp_path / 'cache')
    assert torch.equal(gone(['mug']), first[1:]), 'not even the file'
    with pytest.raises(FileNotFoundError, match='clip.pt'):
        gone(['something new'])


def test_other_weights_are_another_key(clip_file, golden, tmp_path):
    content = torch.jit.load(golden / CLIP).state_dict()
    before = TextEmbedder(clip_file, tmp_path / 'cache')(['mug'])
    clip_file.unlink()
    content['text_projection'] = content['text_projection'].flip(1)
    torch.save(content, clip_file)
    after = TextEmbedder(clip_file, tmp_path / 'cache')(['mug'])
    torch.testing.assert_close(after, before.flip(1), atol=1e-5, rtol=0)


def test_broken_or_unwritable_cache_costs_time_only(clip_file, tmp_path, caplog, monkeypatch):
    folder = tmp_path / 'cache'
    first = TextEmbedder(clip_file, folder)(['mug'])
    [file] = (folder / 'text').iterdir()
    file.write_bytes(file.read_bytes()[:50])
    monkeypatch.setattr(vocabulary._logger, 'propagate', True)
    assert torch.equal(TextEmbedder(clip_file, folder)(['mug']), first)
    assert 'broken cache file' in caplog.text
    blocked = tmp_path / 'blocked'
    blocked.touch()
    assert torch.equal(TextEmbedder(clip_file, blocked)(['mug']), first)
    assert 'not written' in caplog.text


def test_too_many_tokens(clip_file, tmp_path):
    long = 'a b c d e f g h i j k l m n o p q r s t u v w x y z ' * 3
    with pytest.raises(ValueError, match=r'context is 77 tokens.*a b c') as e:
        TextEmbedder(clip_file, tmp_path / 'cache')(['mug', long])
    assert 'mug' not in str(e.value)


def test_threads_share_an_embedder(clip_file, tmp_path):
    embed = TextEmbedder(clip_file, tmp_path / 'cache')
    words = [['mug', 'cup'], ['cup', 'kite'], ['kite', 'mug']]
    results = {}

    def work(i):
        results[i] = embed(words[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for i, names in enumerate(words):
        assert torch.equal(results[i], embed(names))


def rows(*lengths: float) -> PromptRows:
    embeddings = torch.eye(4)[: len(lengths)] * torch.tensor(lengths)[:, None]
    return PromptRows('p.pth', ('cat', 'wine_glass', 'Dog')[: len(lengths)], embeddings)


def refuse(names):
    raise AssertionError(f'{names} embedded, though the file has them')


def test_known_names_keep_their_rows():
    matrix = rows(0.9, 0.8, 0.7).matrix(['dog', 'cat', 'wine glass'], refuse)
    expected = torch.tensor([[0, 0, 0.7, 0], [0.9, 0, 0, 0], [0, 0.8, 0, 0]])
    assert torch.equal(matrix, expected)


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
    torch.testing.assert_close(matrix[0], rows(*lengths).embeddings[0])
    torch.testing.assert_close(matrix[1], torch.tensor([0, 0, 0, length]))


def test_another_clip_is_refused():
    with pytest.raises(ValueError, match='3 numbers, p.pth has 4.*--clip'):
        rows(0.9).matrix(['mug'], lambda names: torch.ones(1, 3))
