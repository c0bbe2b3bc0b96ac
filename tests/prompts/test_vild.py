"""Prompt ensembles equal the recorded embeddings, and the command runs with a custom category set."""

import json

import pytest
import torch

from oadp.clip.weights import encode_texts, load_clip
from oadp.prompts import vild
from oadp.prompts.ensemble import embed_names
from oadp.prompts.templates import VILD


def test_equals_the_recorded_embeddings(golden):
    expected = torch.load(golden / 'expected/prompts/vild.pth')
    # names with upper case, underscores, parentheses, hyphens; COCO's beside LVIS's
    picked = list(range(0, len(expected['names']), 40))
    picked += [expected['names'].index(n) for n in ('CD_player', 'arctic_(type_of_shoe)', 'cow')]
    names = [expected['names'][i] for i in picked]
    model = load_clip(golden / 'world/pretrained/clip/ViT-B-32.pt')
    embeddings = embed_names(model, names)
    assert torch.allclose(embeddings, expected['embeddings'][picked], atol=1e-6)


def test_mean_is_not_normalized_again(small_clip):
    templates = ('a {}', 'there is no {} here')
    embedding = embed_names(small_clip, ['cat'], templates)[0]
    a, b = encode_texts(small_clip, ['a cat', 'there is no cat here'])
    assert torch.allclose(embedding, (a + b) / 2, atol=1e-6)
    assert embedding.norm() < 0.999


def test_equals_whole_sentences(small_clip):
    names = [
        "chef's_hat",
        'Tie &amp; Dye',
        'café',
        'T-shirt',
        '3D glasses',
        'x (y)',
        'a/b',
        'hot  dog',
    ]
    templates = ('{}', 'there is {}', '{} in the scene', 'it is one {} here, 2 of')
    expected = encode_texts(small_clip, [t.format(n) for n in names for t in templates])
    mine = embed_names(small_clip, names, templates)
    assert torch.allclose(mine, expected.unflatten(0, (8, 4)).mean(1), atol=1e-6)


@pytest.mark.parametrize('template', ['a photo of a {}.', 'no name', 'an{}', '"{}"'])
def test_templates_without_spaces_around_the_name(small_clip, template):
    with pytest.raises(ValueError, match='with spaces around it'):
        embed_names(small_clip, ['cat'], [template])


def test_sentences_that_are_too_long(small_clip):
    name = ' '.join('abcdefghijklmnopqrst')  # 20 tokens, of 24 with start and end
    with pytest.raises(ValueError, match=r"24 tokens.*\['there is a b c .* s t here'\]"):
        embed_names(small_clip, ['cat', name], ['one {}', 'there is {} here'])


@pytest.fixture
def command(tmp_path, monkeypatch, small_clip_path):
    monkeypatch.chdir(tmp_path)
    categories = {'bases': ['red_star', 'ring'], 'novels': ['fish', 'owl', 'key', 'arrow']}
    (tmp_path / 'shapes.json').write_text(json.dumps(categories))
    return ['--categories', 'shapes.json', '--clip', str(small_clip_path), '--out', 'out/p.pth']


def test_command(command, tmp_path, small_clip):
    vild.main(command)
    content = torch.load(tmp_path / 'out/p.pth')
    assert content['names'] == ['arrow', 'fish', 'key', 'owl', 'red_star', 'ring']
    assert content['embeddings'].shape == (6, 64) and content['embeddings'].dtype == torch.float32
    expected = encode_texts(small_clip, [t.format('red_star') for t in VILD]).mean(0)
    assert torch.allclose(content['embeddings'][4], expected, atol=5e-3)  # weights through fp16
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['p.pth']


def test_dry_run_writes_to_its_own_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    vild.main(command)
    assert not (tmp_path / 'out').exists()
    assert len(torch.load(tmp_path / 'work_dirs/dry_run/prompts/p.pth')['names']) == 5


def test_missing_clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='ViT-B-32.pt: .*Pretrained Models'):
        vild.main([])
