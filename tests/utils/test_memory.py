"""Errors of too little memory, as torch, NumPy and OpenCV raise them."""

import cv2
import numpy as np
import pytest
import torch

from oadp.utils.memory import is_out_of_memory


@pytest.mark.parametrize(
    'allocate',
    [
        pytest.param(lambda: np.zeros(1 << 55), id='NumPy'),
        pytest.param(lambda: torch.zeros(1 << 55), id='torch'),
    ],
)
def test_real_ones(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as e:
        allocate()
    assert is_out_of_memory(e.value)


@pytest.mark.parametrize(
    'error', [RuntimeError('shape mismatch'), ValueError('out of memory'), cv2.error('bad size')]
)
def test_others(error):
    assert not is_out_of_memory(error)


def test_of_a_gpu():
    assert is_out_of_memory(torch.cuda.OutOfMemoryError('CUDA out of memory.'))
