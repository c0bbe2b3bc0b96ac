"""Fixtures for the tests of CLIP."""

import pytest
from small_clip import make_small_clip


@pytest.fixture(scope='session')
def small_clip():
    return make_small_clip()
