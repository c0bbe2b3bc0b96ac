"""Embeddings are the prompt file's own, and CLIP is needed once for a name."""

import pathlib
import threading

import pytest
import torch

from oadp.inference import text_embedder
from oadp.inference.text_embedder import TextEmbedder

CLIP = 'world/pretrained/clip/ViT-B-32.pt'


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
    load_clip = text_embedder.load_clip
    monkeypatch.setattr(
        text_embedder, 'load_clip', lambda *args: loads.append(args) or load_clip(*args)
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


def test_other_weights_have_another_key(clip_file, golden, tmp_path):
    content = torch.jit.load(golden / CLIP).state_dict()
    before = TextEmbedder(clip_file, tmp_path / 'cache')(['mug'])
    clip_file.unlink()
    content['text_projection'] = content['text_projection'].flip(1)
    torch.save(content, clip_file)
    after = TextEmbedder(clip_file, tmp_path / 'cache')(['mug'])
    torch.testing.assert_close(after, before.flip(1), atol=1e-5, rtol=0)


def test_broken_or_read_only_cache(clip_file, tmp_path, caplog, monkeypatch):
    folder = tmp_path / 'cache'
    first = TextEmbedder(clip_file, folder)(['mug'])
    [file] = (folder / 'text').iterdir()
    file.write_bytes(file.read_bytes()[:50])
    monkeypatch.setattr(text_embedder._logger, 'propagate', True)
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
