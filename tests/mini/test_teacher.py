"""The benchmark's CLIP: its crops and captions, its loss, that it learns, and its file."""

import pathlib
import unittest.mock

import numpy as np
import pytest
import torch

from oadp.clip.weights import load_clip
from oadp.mini.captions import Caption, Crop, cut_crops, cut_windows, sample_crops, write_caption
from oadp.mini.classes import BASES, NOVELS, SYNONYMS
from oadp.mini.clip_model import build_clip, encode_images, to_pixels
from oadp.mini.dataset import Split, draw_split
from oadp.mini.held_out import accuracy
from oadp.mini.scene import Scene
from oadp.mini.settings import TEACHER_PHASES, TeacherSettings, shorten_phases
from oadp.mini.teacher import contrastive_loss, main, train
from oadp.oake.encoder import ImageEncoder
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
    crops = sample_crops([textured], 50, 48, rng, smallest=40, objects=0.5)
    assert len(crops) == 50 and all(crop.names for crop in crops)
    assert len({crop.pixels.tobytes() for crop in crops}) > 45
    # Crops around an object show it, and in this scene no other.
    around = sample_crops([textured], 50, 48, rng, smallest=40, objects=1)
    assert {crop.names for crop in around} == {('star',), ('ring',)}


def test_the_largest_windows_are_whole_images_at_their_own_size() -> None:
    rng = np.random.default_rng(0)
    square = scene()
    square.image = rng.integers(0, 255, (100, 100, 3), dtype=np.uint8)
    crops = sample_crops([square], 8, 100, rng, smallest=100)
    for crop in crops:
        assert any((crop.pixels == p).all() for p in (square.image, square.image[:, ::-1]))


def test_captions_name_visible_classes_at_times_by_synonyms() -> None:
    rng = np.random.default_rng(0)
    shown = ('dotted disc', 'plain star', 'plain heart', 'striped fish')
    captions = [write_caption(shown, rng) for _ in range(300)]
    names = {
        f'{filling} {shape}': f'dotted {"disc" if shape == "ball" else shape}'
        for filling in ('dotted', 'spotted')
        for shape in ('disc', 'ball')
    } | {name: name for name in shown[1:]}
    for caption in captions:
        mentioned = {name for said, name in names.items() if said in caption.text}
        assert 1 <= len(mentioned) <= 3 and caption.names == mentioned
    texts = [c.text for c in captions if 'dotted disc' in c.names]
    for word, synonym in (('dotted', 'spotted'), ('disc', 'ball')):
        assert 0.05 < sum(synonym in text for text in texts) / len(texts) < 0.3
        assert all((synonym in text) != (word in text) for text in texts)
        assert SYNONYMS[word] == synonym


def test_images_of_any_size_are_encoded_as_by_oake() -> None:
    torch.manual_seed(0)
    model = build_clip(TeacherSettings()).eval()
    pixels = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    expected = ImageEncoder(model.visual)(pixels)
    crops = [Crop(p.permute(1, 2, 0).numpy(), ('star',)) for p in pixels]
    found = torch.nn.functional.normalize(encode_images(model, to_pixels(crops)), dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    native = to_pixels([Crop(np.zeros((48, 48, 3), np.uint8), ('star',))])
    torch.testing.assert_close(encode_images(model, native), model.encode_image(native))


def _loss(rows: list[int], shown: list[tuple[str, ...]], said: list[tuple[str, ...]]) -> float:
    """The loss where image i lies along axis i, and its caption along axis ``rows[i]``."""
    torch.manual_seed(0)
    model = build_clip(TeacherSettings())
    model.encode_text = lambda tokens: torch.eye(64)[rows]
    pixels = np.zeros((48, 48, 3), np.uint8)
    crops = [Crop(pixels, names) for names in shown]
    captions = [Caption(' and '.join(names), frozenset(names)) for names in said]
    images = torch.eye(64)[: len(shown)]
    with unittest.mock.patch('oadp.mini.teacher.encode_images', return_value=images):
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
    words = [' '.join(SYNONYMS.get(word, word) for word in name.split()) for name in BASES + NOVELS]
    names = sorted([*BASES, *NOVELS, *words], key=lambda n: tokenize([n], 16).argmax())[-3:]
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
    trained = sum(accuracy(train([settings], seed=0), seen)) / 2
    assert trained > max(2 * untrained, 9)


def test_shorter_phases_are_as_long_as_asked() -> None:
    first, second = shorten_phases(TEACHER_PHASES, 1040, images=7)
    assert (first.iterations, second.iterations) == (800, 240)
    assert (first.single_object_iterations, second.single_object_iterations) == (346, 0)
    assert first.images == second.images == 7
    assert second.object_sides == TEACHER_PHASES[1].object_sides != first.object_sides


def test_each_phase_draws_objects_of_its_own_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(split: Split, count: int, seed: int, sides: tuple[float, float] = (1, 1)):
        drawn.append((split, count, sides))
        return draw_split(split, count, seed, sides=(30, 40))

    monkeypatch.setattr('oadp.mini.teacher.draw_split', draw)
    train(shorten_phases(TEACHER_PHASES, 2, images=3), seed=0)
    assert [d for d in drawn if d[0] is Split.teacher] == [
        (Split.teacher, 3, phase.object_sides) for phase in TEACHER_PHASES
    ]


@pytest.mark.parametrize(
    'interval, expected', [(100, [5]), (2, [2, 4, 5])], ids=['too short for one', 'short']
)
def test_the_accuracy_is_measured_at_intervals_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, interval: int, expected: list[int]
) -> None:
    steps: list[int] = []
    monkeypatch.setattr('oadp.mini.teacher.MIN_EVALUATION_INTERVAL', interval)
    monkeypatch.setattr('oadp.mini.teacher.cut_held_out', lambda *_: {})
    monkeypatch.setattr('oadp.mini.teacher.log_accuracy', lambda _, step, *__: steps.append(step))
    train(shorten_phases(TEACHER_PHASES, 5, images=3), seed=0)
    assert steps == expected


def test_the_file_loads_as_a_clip(tmp_path: pathlib.Path) -> None:
    out = tmp_path / 'mini' / 'clip.pt'
    main(['--out', str(out), '--images', '4', '--iterations', '3'])
    model = load_clip(out)
    assert model.visual.input_resolution == TeacherSettings.resolution
    assert model.text_projection.shape == (TeacherSettings.text_width, TeacherSettings.embedding)
    assert model.context_length == TeacherSettings.context_length
