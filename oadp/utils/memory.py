"""Detect out-of-memory errors."""

__all__ = ['is_out_of_memory']

_MESSAGES = ('out of memory', "can't allocate memory", 'not enough memory')
"""Messages of torch for the GPU and the CPU, and of OpenCV; those of the CPU have no class."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error, of the CPU or of a GPU.

    >>> is_out_of_memory(RuntimeError('CUDA out of memory. Tried to allocate 9.00 GiB'))
    True
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(m in text for m in _MESSAGES)
