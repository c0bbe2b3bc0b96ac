"""mmcv's registry holds OADP's runners, beside mmcv's own."""

import pytest
from mmcv.runner import RUNNERS, IterBasedRunner

from oadp.dp.engine import runners
from oadp.dp.engine.runners import find_runner


def test_names_of_mmcv_keep_their_meaning():
    assert RUNNERS.get('IterBasedRunner') is IterBasedRunner
    assert RUNNERS.get('ResumableIterBasedRunner') is runners.ResumableIterBasedRunner


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('IterBasedRunner', 'ResumableIterBasedRunner'),
        ('EpochBasedRunner', 'ResumableEpochBasedRunner'),
        ('ResumableEpochBasedRunner', 'ResumableEpochBasedRunner'),
    ],
)
def test_found_runners(name: str, expected: str):
    found = find_runner(name)
    assert found is not None and found.__name__ == expected


@pytest.mark.parametrize('name', ['Runner', 'no such', None])
def test_runners_that_cannot_resume_are_not_found(name):
    assert find_runner(name) is None
