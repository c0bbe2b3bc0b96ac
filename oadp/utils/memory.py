"""Telling errors of too little memory from others."""

__all__ = ['is_out_of_memory']

_MESSAGES = ('out of memory', "can't allocate memory", 'not enough memory')
"""What torch's errors of the GPU and of the CPU, and OpenCV's, say; those of the CPU have no class."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is of too little memory, of the CPU or of a GPU.

    >>> is_out_of_memory(RuntimeError('CUDA out of memory. Tried to allocate 9.00 GiB'))
    True
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(m in text for m in _MESSAGES)
