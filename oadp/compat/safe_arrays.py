"""Read NumPy arrays from untrusted pickles.

NumPy trusts the description of an array in a pickle: with a forged dtype, shape or length it reads
numbers as pointers and crashes. This module replaces the functions that a pickle names by functions
that accept only numeric dtypes, and only data of exactly the size that dtype and shape require.
"""

__all__ = [
    'BoundedFile',
    'PlainDtype',
    'SafeArray',
    'SafeUnpickler',
    'admit_arrays',
    'array_from_buffer',
    'empty_array',
    'encode_latin1',
    'scalar',
    'set_array_state',
    'unpickle',
]

import builtins
import collections
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

_NUMERIC_KINDS = 'biufc'  # bool, integers, floats, complex
_MAX_DIMS = 32
_MAX_LENGTH = 1 << 40


class PlainDtype:
    """Replacement of ``numpy.dtype`` in a pickle.

    Raises:
        ValueError: the dtype is not numeric: objects, strings, structures or times.
    """

    def __init__(self, name: str = '', align: Any = False, copy: Any = False) -> None:
        if not isinstance(name, str) or not name.isalnum():
            raise ValueError(f'expected a numeric dtype, found {name!r:.40}')
        self.dtype = np.dtype(name)
        if self.dtype.kind not in _NUMERIC_KINDS:
            raise ValueError(f'expected a numeric dtype, found {name!r}')

    def __setstate__(self, state: Any) -> None:
        # version, byte order, structure and names, size, alignment, flags
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ('<', '>', '=', '|') or any(state[2:5]) or any(state[7:]):
            raise ValueError(f'expected a numeric dtype, found one with the state {state!r:.60}')
        self.dtype = self.dtype.newbyteorder(order)


def _numeric(dtype: Any) -> np.dtype:
    if not isinstance(dtype, PlainDtype):
        raise ValueError(f'expected a numeric dtype, found {dtype!r:.40}')
    return dtype.dtype


def _checked(data: Any, dtype: Any, shape: Any) -> tuple[bytes | bytearray, np.dtype, tuple]:
    plain = _numeric(dtype)
    if isinstance(data, str):  # written by Python 2 and read as latin1
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
        raise ValueError(
            f'expected the data of an array of {plain} of shape {shape!r:.80}, found {len(data)} bytes'
        )
    return data, plain, shape


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Replace NumPy's ``_frombuffer``, which pickles of protocol 5 call."""
    data, plain, shape = _checked(data, dtype, shape)
    return np.frombuffer(data, plain).reshape(shape, order='F' if order == 'F' else 'C')


def scalar(dtype: Any, data: Any) -> Any:
    """Replace NumPy's ``scalar``."""
    data, plain, _ = _checked(data, dtype, ())
    return np.frombuffer(data, plain)[0]


def empty_array(*_: Any) -> np.ndarray:
    """Replace NumPy's ``_reconstruct``; its arguments are not needed."""
    return np.empty(0, np.uint8)


def set_array_state(array: np.ndarray, state: Any) -> None:
    """Fill an empty array from the state in a pickle: [version,] shape, dtype, order, data."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError(
            'expected the state of an array (shape, dtype, order, data), found another one'
        )
    shape, dtype, is_fortran, data = state[-4:]
    data, plain, shape = _checked(data, dtype, shape)
    np.ndarray.__setstate__(array, (1, shape, plain, bool(is_fortran), bytes(data)))


class SafeArray(np.ndarray):
    """Array that ``torch.load`` fills through a checked ``__setstate__``."""

    def __setstate__(self, state: Any) -> None:
        set_array_state(self, state)

    @classmethod
    def empty(cls, *_: Any) -> 'SafeArray':
        """Replace NumPy's ``_reconstruct``."""
        return empty_array().view(cls)


class BoundedFile:
    """File that refuses to read more bytes than are left: a forged length allocates no buffer."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = self._left = size

    @property
    def position(self) -> int:
        """The number of bytes that have been read."""
        return self._size - self._left

    def read(self, size: int) -> bytes:
        """Read bytes as a file does."""
        if size > self._left:
            raise EOFError('the file is truncated')
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        """Read a line as a file does."""
        line = self._file.readline()
        self._left -= len(line)
        return line


# Python's unpickler, not the one in C: the number of a memoized object is the key of a dict here and the
# length of an array there, where a forged number would fill the memory.
class SafeUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Unpickler that calls only what ``admitted`` returns for a name, see :func:`unpickle`."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(
        self,
        file: BoundedFile,
        admitted: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(file, encoding='latin1')
        self._admitted = admitted
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up."""
        return self._admitted(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Return the object for a reference."""
        if self._persistent is None:
            raise pickle.UnpicklingError('the pickle refers to another file')
        return self._persistent(pid)

    def load_build(self) -> None:
        """Set the state of an array or a dtype."""
        state = self.stack.pop()
        instance = self.stack[-1]
        if type(instance) is np.ndarray:
            set_array_state(instance, state)
        elif isinstance(instance, PlainDtype) or getattr(instance, 'is_archived', False) is True:
            instance.__setstate__(state)
        else:
            raise pickle.UnpicklingError(
                f'the pickle sets the state of a {type(instance).__name__}'
            )

    dispatch[pickle.BUILD[0]] = load_build


def unpickle(
    file: BinaryIO,
    size: int,
    admitted: Callable[[str, str], Any],
    persistent: Callable[[Any], Any] | None = None,
    unpickler: type[SafeUnpickler] = SafeUnpickler,
) -> Any:
    """Read a pickle in which every name is looked up by ``admitted``.

    Args:
        file: open for reading bytes.
        size: its number of bytes.
        admitted: return the object for a module and a name; raise ``UnpicklingError`` to refuse it.
        persistent: return the object for a reference to data outside the pickle.
        unpickler: the class that reads.

    Raises:
        ValueError: the pickle is broken or names something that is not admitted.
    """
    try:
        return unpickler(BoundedFile(file, size), admitted, persistent).load()
    except OSError:
        raise
    except Exception as e:  # a corrupt file may raise anything
        raise ValueError(str(e) or type(e).__name__) from e


def encode_latin1(text: Any, encoding: Any = 'latin1') -> bytes:
    """Replace ``_codecs.encode``, by which protocols 0 to 2 store bytes as text."""
    if encoding not in ('latin1', 'latin-1', 'iso-8859-1') or not isinstance(text, str):
        raise pickle.UnpicklingError(
            f'expected bytes in latin1, found the encoding {encoding!r:.20}'
        )
    return text.encode('latin1')


def _bytes(data: Any = b'', encoding: Any = 'latin1') -> bytes:
    """Replace ``bytes`` and ``bytearray``, but refuse a number, which would allocate zeros."""
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    return encode_latin1(data, encoding)


_PLAIN: Mapping[tuple[str, str], Any] = {
    # Protocols 0 to 2 write the bytes of an array and small containers with these.
    ('_codecs', 'encode'): encode_latin1,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    **{
        (module, name): _bytes if name.startswith('byte') else getattr(builtins, name)
        for module in ('builtins', '__builtin__')
        for name in ('bytes', 'bytearray', 'frozenset', 'set')
    },
    ('numpy', 'ndarray'): 'numpy.ndarray',  # only an argument of `_reconstruct`
    ('numpy', 'dtype'): PlainDtype,
    # The modules of these functions in NumPy 1 and NumPy 2; each reads files of the other.
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
    """Return the object for a name in a pickle of arrays.

    Raises:
        pickle.UnpicklingError: arrays do not need this name.
    """
    try:
        return _PLAIN[module, name]
    except KeyError:
        raise pickle.UnpicklingError(f'{module}.{name} is not part of a NumPy array') from None
