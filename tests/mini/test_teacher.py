"""The benchmark's CLIP: its crops and captions, its loss, that it learns, and its file."""

import pathlib

import numpy as np
import pytest
import torch

from oadp.clip.weights import load_clip
from oadp.mini.captions import Caption, Crop, cut_crops, cut_windows, sample_crops, write_caption
from oadp.mini.dataset import Split, draw_split
from oadp.mini.scene import Scene
from oadp.mini.settings import TeacherSettings
from oadp.mini.shapes import BASES, NOVELS, SYNONYMS
from oadp.mini.teacher import accuracy, build_clip, contrastive_loss, main, train
from oadp.prompts.templates import VILD


def scene() -> Scene:
    image = np.zeros((100, 120, 3), np.uint8)
    image[20:40, 10:30] = 200
    boxes = np.array([[10, 20, 30, 40], [80, 60, 110, 90]], np.float32)
    return Scene(image, boxes, np.array([400.0, 900.0], np.float32), ['star', 'ring'])


def test_a_near_crop_shows_its_object_alone() -> None:
    first, second = cut_crops([scene()], 48, np.random.default_rng(0), context=(1.2, 1.2))
    assert first.names == ('star',) and second.names == ('ring',)
    assert first.pixels.shape == (48, 48, 3) and first.pixels.dtype == np.uint8
    # The object is 20 of 24 pixels, on black.
    assert first.pixels.mean() == pytest.approx(200 * (20 / 24) ** 2, rel=0.1)


def test_a_wide_crop_shows_the_others_and_stays_in_the_image() -> None:
    crops = cut_crops([scene()], 48, np.random.default_rng(0), context=(5.0, 5.0))
    assert crops[0].names == ('star', 'ring') and crops[1].names == ('ring', 'star')


def test_windows_cover_the_image_and_each_shows_an_object() -> None:
    crops = cut_windows([scene()], 48, sides=(40,))
    # The star is in the windows from (0, 0) and (0, 20); the ring in the one from (80, 60), and two
    # thirds of it in those from (60, 60) and (80, 40).
    assert [crop.names for crop in crops] == 2 * [('star',)] + 3 * [('ring',)]


def test_drawn_crops_differ_and_show_something() -> None:
    rng = np.random.default_rng(0)
    textured = scene()
    textured.image = rng.integers(0, 255, textured.image.shape, dtype=np.uint8)
    crops = sample_crops([textured], 50, 48, rng, windows=0.5)
    assert len(crops) == 50 and all(crop.names for crop in crops)
    assert len({crop.pixels.tobytes() for crop in crops}) > 45
    # Crops around an object name it first, however wide they are.
    around = sample_crops([textured], 50, 48, rng, context=(6.0, 6.0))
    assert {crop.names[0] for crop in around} == {'star', 'ring'}


def test_captions_name_visible_classes_at_times_by_synonyms() -> None:
    rng = np.random.default_rng(0)
    captions = [write_caption(('ghost', 'star', 'ring', 'key'), rng) for _ in range(300)]
    words = [set(c.text.replace(',', ' ').split()) for c in captions]
    allowed = {'ghost', 'spook', 'star', 'ring', 'hoop', 'key'}
    assert all(1 <= len(found & allowed) <= 3 for found in words)
    share = sum('spook' in w for w in words) / sum(bool(w & {'spook', 'ghost'}) for w in words)
    assert 0.05 < share < 0.3
    assert SYNONYMS['ghost'] == 'spook'
    same = {'spook': 'ghost', 'hoop': 'ring'}
    assert all(
        c.names == {same.get(word, word) for word in w & allowed}
        for c, w in zip(captions, words, strict=True)
    )


def _loss(rows: list[int], shown: list[tuple[str, ...]], said: list[tuple[str, ...]]) -> float:
    """The loss where image i lies along axis i, and its caption along axis ``rows[i]``."""
    torch.manual_seed(0)
    model = build_clip(TeacherSettings())
    model.encode_image = lambda x: torch.eye(64)[: len(shown)]
    model.encode_text = lambda tokens: torch.eye(64)[rows]
    pixels = np.zeros((48, 48, 3), np.uint8)
    crops = [Crop(pixels, names) for names in shown]
    captions = [Caption(' and '.join(names), frozenset(names)) for names in said]
    return contrastive_loss(model, crops, captions, 15.0).item()


def test_the_loss_is_least_if_images_and_captions_match() -> None:
    names = [('star',), ('ring',), ('key',)]
    assert _loss([0, 1, 2], names, names) < 1e-3
    assert _loss([1, 2, 0], names, names) > 5


def test_a_true_caption_of_another_image_is_a_positive() -> None:
    shown = [('star', 'ring'), ('star',), ('key',)]
    said = [('star',), ('star',), ('key',)]
    # Either caption is true of both images with a star, so exchanging them does not change the loss.
    assert _loss([0, 1, 2], shown, said) == pytest.approx(_loss([1, 0, 2], shown, said), abs=1e-5)
    # A caption that mentions the ring is true of the first image only.
    said[0] = ('star', 'ring')
    assert _loss([1, 0, 2], shown, said) > _loss([0, 1, 2], shown, said) + 1


def test_accuracy_is_separate_for_base_and_novel_classes() -> None:
    torch.manual_seed(0)
    model = build_clip(TeacherSettings())
    crops = [Crop(np.zeros((48, 48, 3), np.uint8), (n,)) for n in (BASES[0], NOVELS[0])]
    found = accuracy(model.eval(), crops)
    # The same image twice: at most one of the two predictions can be correct.
    assert found in {(0.0, 0.0), (100.0, 0.0), (0.0, 100.0)}


def test_every_caption_fits_the_context() -> None:
    # clip.tokenize raises where one does not.
    from oadp.clip.weights import tokenize

    longest = max(VILD, key=len)
    names = sorted([*BASES, *NOVELS, *SYNONYMS.values()], key=len)[-3:]
    tokenize([longest.format(' and one '.join(names))], TeacherSettings.context_length)


def test_the_teacher_has_images_of_its_own() -> None:
    own = {s.image.tobytes() for s in draw_split(Split.teacher, 5, 0)}
    detectors = {s.image.tobytes() for k in (Split.train, Split.val) for s in draw_split(k, 5, 0)}
    assert not own & detectors


@pytest.mark.slow
def test_training_raises_the_accuracy() -> None:
    torch.set_num_threads(1)
    settings = TeacherSettings(images=60, iterations=60, single_object_iterations=60, warmup=5)
    rng = np.random.default_rng(1)
    seen = cut_crops(draw_split(Split.teacher, 30, 0), 48, rng, context=(1.0, 1.6))
    torch.manual_seed(0)
    untrained = sum(accuracy(build_clip(settings).eval(), seen)) / 2
    trained = sum(accuracy(train(settings, seed=0, evaluations=1), seen)) / 2
    assert trained > max(2 * untrained, 9)


def test_the_file_loads_as_a_clip(tmp_path: pathlib.Path) -> None:
    out = tmp_path / 'mini' / 'clip.pt'
    main(['--out', str(out), '--images', '4', '--iterations', '3'])
    model = load_clip(out)
    assert model.visual.input_resolution == TeacherSettings.resolution
    assert model.text_projection.shape == (TeacherSettings.text_width, TeacherSettings.embedding)
    assert model.context_length == TeacherSettings.context_length
