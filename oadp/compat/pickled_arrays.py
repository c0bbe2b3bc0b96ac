"""Locate NumPy arrays in a pickle, to read them one at a time.

A file of proposals has gigabytes, and a pickle is read as a whole. Here the data of an array is skipped, and
its position kept. What is admitted is the same as in ``safe_arrays``.
"""

__all__ = ['LocatingUnpickler', 'PickledArray']

import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

from oadp.compat.safe_arrays import (
    BoundedFile,
    SafeUnpickler,
    array_from_buffer,
    empty_array,
    encode_latin1,
    set_array_state,
)

_SMALL = 256  # bytes, which are kept in memory


class _Span(NamedTuple):
    """Bytes of the file that were skipped.

    Attributes:
        start: position in the file.
        size: number of bytes in the file.
        encoding: if these are text, how it is encoded; bytes are text of latin1 in protocols 0 to 2.
    """

    start: int
    size: int
    encoding: str | None

    def read(self, file: BinaryIO) -> bytes:
        file.seek(self.start)
        content = file.read(self.size)
        return encode_latin1(content.decode(self.encoding)) if self.encoding else content


class PickledArray:
    """An array whose data is in the file."""

    def __init__(self) -> None:
        self._state: Any = None
        self._is_buffer = False

    @classmethod
    def empty(cls, *_: Any) -> 'PickledArray':
        """Replace NumPy's ``_reconstruct``."""
        return cls()

    @classmethod
    def from_buffer(cls, *arguments: Any) -> 'PickledArray':
        """Replace NumPy's ``_frombuffer``."""
        array = cls()
        array._state, array._is_buffer = arguments, True
        return array

    def set_state(self, state: Any) -> None:
        """Keep the state of an array: [version,] shape, dtype, order, data."""
        self._state = state

    def load(self, file: BinaryIO) -> np.ndarray:
        """Read the array.

        Args:
            file: the file of the pickle, open for reading bytes.

        Raises:
            ValueError: no array of numbers, or not with the data that its shape requires.
        """
        state = self._state
        if isinstance(state, tuple):
            state = tuple(v.read(file) if isinstance(v, _Span) else v for v in state)
        if self._is_buffer:
            return array_from_buffer(*state)
        array = empty_array()
        if state is not None:
            set_array_state(array, state)
        return array


def _encode(text: Any, encoding: Any = 'latin1') -> Any:
    """Replace ``_codecs.encode``."""
    return text if isinstance(text, _Span) else encode_latin1(text, encoding)


class LocatingUnpickler(SafeUnpickler):
    """Unpickler that skips the data of arrays, and creates a ``PickledArray`` for each."""

    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(SafeUnpickler.dispatch)
    _unframer: Any
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, file: BoundedFile, *args: Any) -> None:
        super().__init__(file, *args)
        self._bounded = file

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up; the functions of NumPy are replaced once more."""
        found = super().find_class(module, name)
        return next((new for old, new in _REPLACED if found is old), found)

    def _skip(self, length_format: str, encoding: str | None = None) -> None:
        """Append the span of bytes or text to the stack, or the value itself if it is small."""
        [size] = struct.unpack(length_format, self.read(struct.calcsize(length_format)))
        frame = self._unframer.current_frame
        ahead = len(frame.getbuffer()) - frame.tell() if frame else 0
        span = _Span(self._bounded.position - ahead, size, encoding)
        content = bytes(self.read(size))
        if size > _SMALL:
            self.append(span)
        else:
            self.append(content if encoding is None else content.decode(encoding, 'surrogatepass'))

    def load_build(self) -> None:
        """Set the state of an array or a dtype."""
        if isinstance(self.stack[-2], PickledArray):
            state = self.stack.pop()
            self.stack[-1].set_state(state)
        else:
            super().load_build()

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BINBYTES[0]] = lambda self: self._skip('<I')
    dispatch[pickle.BINBYTES8[0]] = lambda self: self._skip('<Q')
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self._skip('<Q')
    dispatch[pickle.BINUNICODE[0]] = lambda self: self._skip('<I', 'utf-8')
    dispatch[pickle.BINUNICODE8[0]] = lambda self: self._skip('<Q', 'utf-8')
    dispatch[pickle.BINSTRING[0]] = lambda self: self._skip('<I', 'latin1')  # of Python 2


_REPLACED = (
    (empty_array, PickledArray.empty),
    (array_from_buffer, PickledArray.from_buffer),
    (encode_latin1, _encode),
)
