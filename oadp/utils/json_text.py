"""Read JSON files with errors that name the file and the cause.

Python's errors about JSON and encodings do not name the file, and mmcv's registry, which rebuilds an
exception from its message, cannot raise them again. Here every fault is a ``ValueError``.
"""

__all__ = ['json_fault', 'parse_json', 'read_json', 'read_text']

import codecs
import json
import mmap
import os
import pathlib
from typing import Any

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: 'UTF-32',
    codecs.BOM_UTF32_BE: 'UTF-32',
    codecs.BOM_UTF16_LE: 'UTF-16',
    codecs.BOM_UTF16_BE: 'UTF-16',
}


def read_text(path: str | os.PathLike) -> str:
    """Read a UTF-8 file as one string, without its byte order mark.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, or not in UTF-8.
    """
    path = pathlib.Path(path)
    with path.open('rb') as f:
        if not os.fstat(f.fileno()).st_size:
            raise ValueError(f'{path}: the file is empty')
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return str(content, 'utf-8-sig')
            except UnicodeDecodeError as e:
                fault = _encoding_fault(content[:4], e)
    raise ValueError(f'{path}: {fault}')


def _encoding_fault(head: bytes, error: UnicodeDecodeError) -> str:
    for mark, name in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return f'encoded in {name}, expected UTF-8; save it again as UTF-8'
    byte = error.object[error.start]
    return (
        f'not encoded in UTF-8: byte {error.start} is 0x{byte:02x} ({error.reason}); convert it, '
        'for example by `iconv -f GBK -t UTF-8`'
    )


def parse_json(path: str | os.PathLike, text: str) -> Any:
    """Decode the text of a file.

    Args:
        path: path for error messages; not read.
        text: content of the file.

    Raises:
        ValueError: the text is truncated, or not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        fault = json_fault(text, e)
    raise ValueError(f'{path}: {fault}')


def read_json(path: str | os.PathLike) -> Any:
    """Read and decode a file; see ``read_text`` and ``parse_json`` for errors."""
    return parse_json(path, read_text(path))


def json_fault(text: str, error: ValueError | RecursionError) -> str:
    """Return a description of the error that the JSON decoder raised for a text."""
    if isinstance(error, RecursionError):
        return 'not JSON that can be read: nested too deeply'
    if not isinstance(error, json.JSONDecodeError):
        return f'not JSON that can be read ({error})'
    where = f'{error.msg} in line {error.lineno}, column {error.colno}'
    begins = text[:64].lstrip().startswith(('{', '['))
    ends = text[-64:].rstrip().endswith(('}', ']')) and text[error.pos : error.pos + 64].strip()
    if begins and not ends:
        return f'cut off after {len(text)} characters ({where}); copy or download the file again'
    return f'not JSON ({where})'
