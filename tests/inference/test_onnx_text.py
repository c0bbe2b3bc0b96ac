"""The exported tokeniser and text encoder give CLIP's tokens and embeddings."""

import numpy as np
import pytest
import tokenizers

from oadp.categories import get_categories
from oadp.clip.weights import load_clip, tokenize
from oadp.inference.onnx_text import OnnxTextEmbedder, clean_text
from oadp.prompts.ensemble import embed_names

STRANGE = [
    '',
    "it's the cat's  Meow, they've\tgone",
    'CAFÉ au lait — 3½ €',
    'schÃ¶n',  # UTF-8 read as Latin-1
    'bow &amp;amp; arrow',
    '红色的风筝 🪁🪁',
    'x' * 60,
    '!!! ... #$%_under_score (dish)',
    'ﬁne İstanbul ǅ',
    'a\u00a0b\u200bc\u0301',
]


def test_tokens_are_clip_s(exported):
    tokenizer = tokenizers.Tokenizer.from_file(str(exported / 'oadp_ov_coco.tokenizer.json'))
    texts = [f'a photo of a {n}' for n in get_categories('lvis').all_] + STRANGE
    expected = tokenize(texts, 200).numpy()
    ends = expected.argmax(1)
    for text, row, end in zip(texts, expected, ends, strict=True):
        assert tokenizer.encode(clean_text(text)).ids == row[: end + 1].tolist(), text


def test_embeddings_are_clip_s(exported, golden):
    embedder = OnnxTextEmbedder.load(exported / 'oadp_ov_coco.onnx', 'cpu', 1)
    names = ['mug', 'zebra crossing', 'a very long name of nothing in particular', 'wine_glass']
    clip = load_clip(golden / 'world/pretrained/clip/ViT-B-32.pt')
    found = embedder(names)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, embed_names(clip, names).numpy(), atol=2e-6)
    assert np.array_equal(embedder(names[::-1]), found[::-1])
    assert embedder([]).shape[0] == 0


def test_each_name_is_encoded_once(exported):
    embedder = OnnxTextEmbedder.load(exported / 'oadp_ov_coco.onnx', 'cpu', 1)
    first = embedder(['mug'])
    embedder._session = None  # fails, if asked again
    assert np.array_equal(embedder(['mug', 'mug']), np.repeat(first, 2, 0))


def test_too_long_names_are_listed(exported):
    embedder = OnnxTextEmbedder.load(exported / 'oadp_ov_coco.onnx', 'cpu', 1)
    long = 'very ' * 77 + 'long'
    with pytest.raises(ValueError, match=f'context is 77 tokens.*{long}'):
        embedder(['mug', long])


def test_missing_tokenizer(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match='x.tokenizer.json'):
        OnnxTextEmbedder.load(tmp_path / 'x.onnx')
