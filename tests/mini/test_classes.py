"""The benchmark's classes: fillings of shapes, of which a third of the shapes is novel."""

import itertools

import numpy as np
import pytest

from oadp.mini.classes import (
    BASE_SHAPES,
    BASES,
    CLASSES,
    FILLINGS,
    NOVEL_SHAPES,
    NOVELS,
    SHAPES,
    SYNONYMS,
)
from oadp.mini.scene import draw_class
from oadp.mini.shapes import draw_shape

TRANSFORM = np.array([[30.0, 0, 32], [0, 30.0, 32]])
SIZE = (64, 64)


@pytest.mark.parametrize('name', SHAPES)
def test_a_shape_fills_its_square(name: str) -> None:
    cover = draw_shape(name, SIZE, TRANSFORM)
    assert cover.shape == SIZE and cover.min() == 0 and cover.max() == 1
    ys, xs = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
    assert max(ys[-1] - ys[0], xs[-1] - xs[0]) >= 48
    assert 0.05 < cover.mean() < 0.9


def test_shapes_differ() -> None:
    covers = {name: draw_shape(name, SIZE, TRANSFORM) for name in SHAPES}
    for first, second in itertools.combinations(covers, 2):
        a, b = covers[first], covers[second]
        assert np.minimum(a, b).sum() / np.maximum(a, b).sum() < 0.9, (first, second)


def test_fillings_differ_within_every_shape() -> None:
    for shape in SHAPES:
        shown = {}
        for filling in FILLINGS:
            outline, bright = draw_class(f'{filling} {shape}', SIZE, TRANSFORM)
            assert bright.shape == outline.shape and 0 <= bright.min() and bright.max() <= 1
            shown[filling] = outline * bright
        area = outline.sum()
        for first, second in itertools.combinations(FILLINGS, 2):
            assert np.abs(shown[first] - shown[second]).sum() / area > 0.1, (shape, first, second)


def test_a_filling_turns_with_its_shape() -> None:
    upright = draw_class('halved square', SIZE, TRANSFORM)[1]
    turned = draw_class('halved square', SIZE, np.array([[0, -30.0, 32], [30.0, 0, 32]]))[1]
    np.testing.assert_allclose(turned, np.rot90(upright, -1), atol=1e-5)


def test_novel_shapes_are_those_of_no_base_class_and_all_fillings_are_known() -> None:
    assert len(CLASSES) == 96 and set(BASES) | set(NOVELS) == set(CLASSES)
    assert len(BASES) == 64 and len(NOVELS) == 32
    fillings, shapes = ({CLASSES[name][part] for name in BASES} for part in (0, 1))
    assert fillings == set(FILLINGS) and shapes == set(BASE_SHAPES)
    assert {CLASSES[name][1] for name in NOVELS} == set(NOVEL_SHAPES)


def test_no_synonym_is_a_word_of_a_class_name() -> None:
    words = {*SHAPES, *FILLINGS}
    assert set(SYNONYMS) <= words and not set(SYNONYMS.values()) & words
