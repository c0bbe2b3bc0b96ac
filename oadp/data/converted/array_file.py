"""Store arrays in one file that processes share by mapping it into memory.

The file is an ``.npz`` without compression, which ``numpy.load`` reads as well: a zip archive has the
names, positions and checksums of its parts. A part is either an array, which is mapped, or bytes, which
are read on demand: those do not count as memory of the process.
"""

__all__ = ['ArrayFile', 'ArrayWriter']

import errno
import io
import mmap
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

_ALIGNMENT = 64  # bytes, as in NumPy's own format
_LOCAL_HEADER = struct.Struct(
    '<26xHH'
)  # of a zip archive; lengths of the name and the extra fields
_ZIP64_FIELD = 20  # bytes
_PADDING = struct.Struct('<HH')
_PADDING_ID = 0xD935  # the id that Android's zipalign uses for padding
_OLDEST_TIME = (1980, 1, 1, 0, 0, 0)  # so that the file depends on its content only
_NPY_VERSION = (1, 0)
_MAX_NPY_HEADER = 1024  # bytes; those of arrays of numbers have 128


class ArrayWriter:
    """Write the parts of a file, one after another.

    Args:
        path: the file, which is overwritten.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._archive = zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED)

    def __enter__(self) -> 'ArrayWriter':
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def add(self, name: str, array: np.ndarray) -> None:
        """Write an array of numbers."""
        with self._open(f'{name}.npy') as part:
            np.lib.format.write_array(part, array, _NPY_VERSION, allow_pickle=False)

    def add_bytes(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write bytes that are produced piece by piece."""
        with self._open(name) as part:
            for piece in pieces:
                part.write(piece)

    def _open(self, name: str) -> Any:
        info = zipfile.ZipInfo(name, _OLDEST_TIME)
        assert self._archive.fp is not None
        header = _LOCAL_HEADER.size + len(name) + _PADDING.size + _ZIP64_FIELD
        padding = -(self._archive.fp.tell() + header) % _ALIGNMENT
        info.extra = _PADDING.pack(_PADDING_ID, padding) + bytes(padding)
        return self._archive.open(info, 'w', force_zip64=True)


class ArrayFile:
    """The parts of a file of ``ArrayWriter``.

    Arrays are mapped read-only. A pickled object consists of the path, and the other process maps the
    same pages.

    Args:
        path: the file.
        verify: compare all parts with their checksums, which reads the whole file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or not of this format.
    """

    def __init__(self, path: str | os.PathLike, verify: bool = True) -> None:
        self.path = pathlib.Path(path)
        self._file = self.path.open('rb')
        try:
            self._parts = _find_parts(self._file, verify)
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except Exception as e:  # a damaged file may raise anything, even EINVAL
            self._file.close()
            if isinstance(e, OSError) and e.errno != errno.EINVAL:
                raise
            raise ValueError(f'{self.path}: damaged ({e})') from e

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayFile, (self.path.absolute(), False)

    def array(self, name: str) -> np.ndarray:
        """Return an array; its memory is shared with all processes that map the file.

        Raises:
            ValueError: there is no such array, or it is not one of numbers.
        """
        start, size = self._part(f'{name}.npy')
        # Not through the file, whose position is that of all forked processes.
        header = io.BytesIO(self._map[start : start + min(size, _MAX_NPY_HEADER)])
        try:
            np.lib.format.read_magic(header)
            shape, _, dtype = np.lib.format.read_array_header_1_0(header)
            content = memoryview(self._map)[start + header.tell() : start + size]
            return (
                np.frombuffer(content, dtype).reshape(shape) if content else np.zeros(shape, dtype)
            )
        except ValueError as e:
            raise ValueError(f'{self.path}: {name} is no array ({e})') from e

    def size(self, name: str) -> int:
        """Return the size of a part that is bytes."""
        return self._part(name)[1]

    def read(self, name: str, start: int, stop: int) -> bytearray:
        """Return bytes of a part that is bytes, from ``start`` to ``stop``.

        This can be called in several threads, and in forked processes.
        """
        first, size = self._part(name)
        assert 0 <= start <= stop <= size, f'{name}[{start}:{stop}] of {size} bytes'
        content = bytearray(stop - start)
        found = os.preadv(self._file.fileno(), [content], first + start)
        if found != len(content):  # at most 2 GiB are read at once
            raise ValueError(f'{self.path}: {name} ends after {start + found} bytes')
        return content

    def _part(self, name: str) -> tuple[int, int]:
        if name not in self._parts:
            raise ValueError(f'{self.path}: has no {name}; it has {sorted(self._parts)}')
        return self._parts[name]


def _find_parts(file: BinaryIO, verify: bool) -> dict[str, tuple[int, int]]:
    """Return the position and the size of each part by its name."""
    parts = {}
    with zipfile.ZipFile(file) as archive:
        if verify and (damaged := archive.testzip()) is not None:
            raise ValueError(f'the checksum of {damaged} differs')
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f'{info.filename} is compressed')
            file.seek(info.header_offset)
            lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            start = info.header_offset + _LOCAL_HEADER.size + sum(lengths)
            parts[info.filename] = start, info.file_size
    return parts
