"""Loading, writing and encoding equal the loader and text encoder of the clip package."""

import logging

import pytest
import torch
from torch.nn import functional

from oadp.clip import weights as clip_model
from oadp.clip.weights import encode_texts, load_clip, save_clip_archive, tokenize


@pytest.fixture(scope='module')
def small():
    """A CLIP with other sizes than ViT-B/32."""
    clip = clip_model.import_clip()
    torch.manual_seed(0)
    model = clip.model.CLIP(
        embed_dim=64,
        image_resolution=48,
        vision_layers=2,
        vision_width=64,
        vision_patch_size=8,
        context_length=16,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=2,
    )
    return model.eval().requires_grad_(False)


@pytest.fixture
def archive(small, tmp_path):
    path = tmp_path / 'clip' / 'small.pt'
    save_clip_archive(small, path)
    return path


def same_function(a, b, resolution, atol=1e-6):
    clip = clip_model.import_clip()
    torch.manual_seed(1)
    images, texts = torch.randn(2, 3, resolution, resolution), clip.tokenize(['a cat', 'dogs'], 16)
    with torch.no_grad():
        assert torch.allclose(a.encode_image(images), b.encode_image(images), atol=atol)
        assert torch.allclose(a.encode_text(texts), b.encode_text(texts), atol=atol)


def test_archive_equals_that_of_the_clip_package(golden):
    path = golden / 'world/pretrained/clip/ViT-B-32.pt'
    model = load_clip(path)
    theirs, _ = clip_model.import_clip().load(str(path), device='cpu')
    same_function(model, theirs, 224, atol=0)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_saved_archive_has_the_keys_of_openai(golden, archive, small):
    released = torch.jit.load(golden / 'world/pretrained/clip/ViT-B-32.pt', map_location='cpu')
    mine = torch.jit.load(archive).state_dict()

    def without_layer(keys):
        return {k for k in keys if 'resblocks' not in k or 'resblocks.0' in k}

    assert without_layer(mine) == without_layer(released.state_dict())
    sizes = [int(mine[k]) for k in ('input_resolution', 'context_length', 'vocab_size')]
    assert sizes == [48, 16, 49408]


def test_saved_archive_round_trip(archive, small):
    mine = load_clip(archive)
    theirs, transform = clip_model.import_clip().load(str(archive), device='cpu')
    same_function(mine, theirs, 48, atol=0)
    same_function(mine, small, 48, atol=2e-2)  # the weights went through fp16
    assert transform.transforms[0].size == 48
    assert [p.name for p in archive.parent.iterdir()] == ['small.pt']
    assert {p.dtype for p in small.parameters()} == {torch.float32}, 'the model was changed'


def test_state_dict(archive, small, tmp_path):
    path = tmp_path / 'plain.pt'
    torch.save(small.state_dict(), path)
    same_function(load_clip(path), load_clip(archive), 48, atol=0)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'ViT-B-32.pt: .*oadp.pretrained clip'):
        load_clip(tmp_path / 'ViT-B-32.pt')


@pytest.mark.parametrize(
    ('content', 'match', 'caption'),
    [
        ({'a': torch.zeros(1)}, r"without \['positional_embedding'.*'a'", 'other weights'),
        ({'state_dict': {'a': torch.zeros(1)}}, r"a dict with \['state_dict'\]", 'a checkpoint'),
        (torch.zeros(3), 'found a Tensor', 'a tensor'),
    ],
)
def test_other_content(content, match, caption, tmp_path):
    path = tmp_path / 'other.pt'
    torch.save(content, path)
    with pytest.raises(ValueError, match=match):
        load_clip(path)


class Record(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def test_another_checksum_is_a_warning(small, tmp_path):
    handler = Record()
    logging.getLogger('oadp').addHandler(handler)
    try:
        save_clip_archive(small, tmp_path / 'mine.pt')
        load_clip(tmp_path / 'mine.pt')
        assert not handler.messages
        (tmp_path / 'mine.pt').rename(tmp_path / 'ViT-B-32.pt')
        load_clip(tmp_path / 'ViT-B-32.pt')
        assert 'is not the file that OpenAI published' in handler.messages[0]
    finally:
        logging.getLogger('oadp').removeHandler(handler)


def test_checksums_equal_those_of_the_clip_package():
    urls = clip_model.import_clip().clip._MODELS.values()
    theirs = {url.rsplit('/', 1)[1]: url.rsplit('/', 2)[1] for url in urls}
    assert clip_model.OPENAI_SHA256.items() <= theirs.items()


def test_tokens_equal_clip():
    texts = ['a photo of a cat.', 'sofa', 'tie &amp; dye']
    assert tokenize(texts, 77).equal(clip_model.import_clip().tokenize(texts))


def test_error_lists_all_texts_that_are_too_long():
    with pytest.raises(
        ValueError, match=r"6 tokens.*shorten 'a b c d e' \(7 tokens\), 'f g h i j k'"
    ):
        tokenize(['a b c d e', 'fits', 'f g h i j k'], 6)


def test_short_sequences_equal_padded_ones(small):
    texts = ['cat', 'a photo of a very big dog', 'cat', 'a tree']
    done = []
    mine = encode_texts(small, texts, batch_size=2, progress=done.append)
    theirs = small.encode_text(clip_model.import_clip().tokenize(texts, small.context_length))
    assert torch.allclose(mine, functional.normalize(theirs, dim=1), atol=1e-6)
    assert sum(done) == 3, 'a text that stands twice is encoded once'
