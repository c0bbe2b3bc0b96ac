"""Fixtures for the tests of the prompts."""

import pytest
from small_clip import make_small_clip

from oadp.clip.weights import save_clip_archive


@pytest.fixture(scope='session')
def small_clip():
    return make_small_clip()


@pytest.fixture(scope='session')
def small_clip_path(small_clip, tmp_path_factory):
    path = tmp_path_factory.mktemp('clip') / 'small.pt'
    save_clip_archive(small_clip, path)
    return path
