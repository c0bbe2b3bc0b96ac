"""The list of templates; its numbers are checked by the golden embeddings in test_vild."""

from oadp.prompts.templates import VILD


def test_count_and_form():
    assert len(VILD) == len(set(VILD)) == 74
    assert all(t.count('{}') == 1 and t == t.strip() and '  ' not in t for t in VILD)


def test_examples():
    assert {
        'This is a {}',
        'a photo of a medium {} in the scene',
        'This is one large {} in the scene',
        'There is the small {} in the picture',
    } <= set(VILD)
    assert 'This is a small {} in the scene' not in VILD
