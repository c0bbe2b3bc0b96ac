"""NumPy arrays from pickles that somebody else wrote, built from checked parts alone.

NumPy trusts what a pickle says of an array: with a forged dtype, shape or length of the data it takes
numbers for pointers and crashes. So the functions that a pickle names are replaced by those here, which
admit plain numeric dtypes and data of exactly the size that dtype and shape ask for.
"""

__all__ = [
    'PlainDtype',
    'SafeArray',
    'admit_arrays',
    'array_from_buffer',
    'empty_array',
    'scalar',
    'set_array_state',
    'unpickle',
]

import builtins
import collections
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

_NUMERIC_KINDS = 'biufc'  # bool, integers, floats, complex
_MAX_DIMS = 32
_MAX_LENGTH = 1 << 40


class PlainDtype:
    """Stands for ``numpy.dtype`` in a pickle.

    Raises:
        ValueError: objects, strings, structures or times in place of numbers.
    """

    def __init__(self, name: str = '', align: Any = False, copy: Any = False) -> None:
        if not isinstance(name, str) or not name.isalnum():
            raise ValueError(f'dtype {name!r:.40}, expected one of numbers')
        self.dtype = np.dtype(name)
        if self.dtype.kind not in _NUMERIC_KINDS:
            raise ValueError(f'dtype {name!r}, expected one of numbers')

    def __setstate__(self, state: Any) -> None:
        # version, order of bytes, structure and names, size, alignment, flags
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ('<', '>', '=', '|') or any(state[2:5]) or any(state[7:]):
            raise ValueError(f'a dtype with the state {state!r:.60}, expected one of numbers')
        self.dtype = self.dtype.newbyteorder(order)


def _numeric(dtype: Any) -> np.dtype:
    if not isinstance(dtype, PlainDtype):
        raise ValueError(f'expected a dtype of numbers, found {dtype!r:.40}')
    return dtype.dtype


def _checked(data: Any, dtype: Any, shape: Any) -> tuple[bytes | bytearray, np.dtype, tuple]:
    plain = _numeric(dtype)
    if isinstance(data, str):  # of Python 2, read as latin1
        data = data.encode('latin1')
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError(f'expected the bytes of an array, found {type(data).__name__}')
    shape = (shape,) if isinstance(shape, int) else shape
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_DIMS
        or not all(type(n) is int and 0 <= n <= _MAX_LENGTH for n in shape)
        or math.prod(shape) * plain.itemsize != len(data)
    ):
        raise ValueError(f'{len(data)} bytes for an array of {plain} of the shape {shape!r:.80}')
    return data, plain, shape


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand for NumPy's ``_frombuffer``, as pickles of protocol 5 have it."""
    data, plain, shape = _checked(data, dtype, shape)
    return np.frombuffer(data, plain).reshape(shape, order='F' if order == 'F' else 'C')


def scalar(dtype: Any, data: Any) -> Any:
    """Stand for NumPy's ``scalar``."""
    data, plain, _ = _checked(data, dtype, ())
    return np.frombuffer(data, plain)[0]


def empty_array(*_: Any) -> np.ndarray:
    """Stand for NumPy's ``_reconstruct``, whose arguments say nothing that is needed."""
    return np.empty(0, np.uint8)


def set_array_state(array: np.ndarray, state: Any) -> None:
    """Fill an empty array from the state in a pickle: [version,] shape, dtype, order, data."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError('an array with a state of another form')
    shape, dtype, is_fortran, data = state[-4:]
    data, plain, shape = _checked(data, dtype, shape)
    np.ndarray.__setstate__(array, (1, shape, plain, bool(is_fortran), bytes(data)))


class SafeArray(np.ndarray):
    """An array that ``torch.load`` may fill: it calls ``__setstate__``."""

    def __setstate__(self, state: Any) -> None:
        set_array_state(self, state)

    @classmethod
    def empty(cls, *_: Any) -> 'SafeArray':
        """Stand for NumPy's ``_reconstruct``."""
        return empty_array().view(cls)


class _Bounded:
    """A file that is not asked for more bytes than it has left: no buffer is made for a forged length."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise EOFError('cut off')
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


# The unpickler in Python, not that in C: what a pickle numbers its objects by is the key of a dict here,
# and the length of a list there, so that a forged number fills the memory.
class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Calls what ``admitted`` has under a name, and nothing else."""

    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(
        self,
        file: _Bounded,
        admitted: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(file, encoding='latin1')
        self._admitted = admitted
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        return self._admitted(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError('a reference to another file')
        return self._persistent(pid)

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if type(instance) is np.ndarray:
            set_array_state(instance, state)
        elif isinstance(instance, PlainDtype) or getattr(instance, 'is_archived', False) is True:
            instance.__setstate__(state)
        else:
            raise pickle.UnpicklingError(f'a state for a {type(instance).__name__}')

    dispatch[pickle.BUILD[0]] = load_build


def unpickle(
    file: BinaryIO,
    size: int,
    admitted: Callable[[str, str], Any],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read a pickle in which every name is looked up by ``admitted``.

    Args:
        file: open for reading bytes.
        size: how many bytes it has.
        admitted: what a module and a name stand for; raises ``UnpicklingError`` for all others.
        persistent: what a reference to a part outside of the pickle stands for.

    Raises:
        ValueError: broken, or more than that; what exactly, a garbled file leaves to chance.
    """
    try:
        return _Unpickler(_Bounded(file, size), admitted, persistent).load()
    except OSError:
        raise
    except Exception as e:  # garbage makes an unpickler stumble in many ways
        raise ValueError(str(e) or type(e).__name__) from e


def _encode_latin1(text: Any, encoding: Any = 'latin1') -> bytes:
    if encoding not in ('latin1', 'latin-1', 'iso-8859-1') or not isinstance(text, str):
        raise pickle.UnpicklingError(f'bytes in the encoding {encoding!r:.20}')
    return text.encode('latin1')


def _bytes(data: Any = b'', encoding: Any = 'latin1') -> bytes:
    """``bytes`` and ``bytearray`` without their third meaning, a number of zeros."""
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    return _encode_latin1(data, encoding)


_PLAIN: Mapping[tuple[str, str], Any] = {
    # How protocols 0 to 2 write the bytes of an array, and small containers.
    ('_codecs', 'encode'): _encode_latin1,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    **{
        (module, name): _bytes if name.startswith('byte') else getattr(builtins, name)
        for module in ('builtins', '__builtin__')
        for name in ('bytes', 'bytearray', 'frozenset', 'set')
    },
    ('numpy', 'ndarray'): 'numpy.ndarray',  # only an argument of `_reconstruct`
    ('numpy', 'dtype'): PlainDtype,
    # Where NumPy 1 and NumPy 2 say that arrays are made; either reads the other's files.
    **{
        (f'numpy.{core}.{module}', name): function
        for core in ('core', '_core')
        for module, name, function in (
            ('multiarray', '_reconstruct', empty_array),
            ('multiarray', 'scalar', scalar),
            ('numeric', '_frombuffer', array_from_buffer),
        )
    },
}


def admit_arrays(module: str, name: str) -> Any:
    """What a name in a pickle of arrays stands for."""
    try:
        return _PLAIN[module, name]
    except KeyError:
        raise pickle.UnpicklingError(f'{module}.{name} is not a NumPy array') from None
