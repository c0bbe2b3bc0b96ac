"""Check the length of an LMDB file before it is mapped into memory.

LMDB assumes that a file has the length in its meta page. If a copy is truncated, the first read beyond its
end kills the process (SIGBUS).
"""

__all__ = ['check_length']

import os
import pathlib
import struct

_MAGIC = 0xBEEFC0DE
_HEADER = 16  # bytes of a page before its content
_META = struct.Struct('<II Q Q 48s 48s Q Q')
"""Magic, version, address, map size, two databases, the last page, the transaction."""
_PAGE_SIZE = struct.Struct('<I')  # the first number of the first database
_PAGE_SIZES = range(256, (1 << 16) + 1)


def check_length(path: str | os.PathLike) -> None:
    """Raise an error if a data file is shorter than the length in its newest meta page.

    Args:
        path: ``data.mdb`` of a packed store.

    Raises:
        ValueError: not an LMDB file, or truncated; the message names the file.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    with path.open('rb') as file:
        first = _read_meta(file.read(_HEADER + _META.size))
        if first is None:
            raise ValueError(
                f'{path}: expected a packed store (LMDB), found another or truncated file of {size} bytes; copy '
                'or pack it again'
            )
        _, _, page_size = first
        file.seek(page_size)
        second = _read_meta(file.read(_HEADER + _META.size))
    _, last_page, _ = max(meta for meta in (first, second) if meta is not None)
    expected = (last_page + 1) * page_size
    if size < expected:
        raise ValueError(
            f'{path}: truncated: expected {expected} bytes, found {size}; copy it again, or extract or '
            'pack the features again'
        )


def _read_meta(data: bytes) -> tuple[int, int, int] | None:
    """Return transaction, last page and page size; None if the bytes are not a meta page."""
    if len(data) < _HEADER + _META.size:
        return None
    magic, _, _, _, free, _, last_page, transaction = _META.unpack_from(data, _HEADER)
    (page_size,) = _PAGE_SIZE.unpack_from(free)
    if magic != _MAGIC or page_size not in _PAGE_SIZES:
        return None
    return transaction, last_page, page_size
