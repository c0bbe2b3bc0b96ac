"""A full disk, with the name of the file that did not fit."""

__all__ = ['naming_full_disk']

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ALMOST_FULL = 1 << 20  # bytes; torch stops where less is left than it wants to write


@contextlib.contextmanager
def naming_full_disk(path: str | os.PathLike) -> Iterator[None]:
    """Within it a file is written; where the disk is full, the error names it.

    Errors of ``write`` have no file name, and torch's file writer raises a ``RuntimeError`` that has
    neither the name nor the reason.

    Args:
        path: the file that the user knows of, which a temporary one may stand for.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in _FULL:
            raise
        raise OSError(e.errno, os.strerror(e.errno or 0), os.fspath(path)) from e
    except RuntimeError as e:
        if not _is_full(path):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path)) from e


def _is_full(path: str | os.PathLike) -> bool:
    folder = os.path.dirname(os.path.abspath(path))
    return os.path.isdir(folder) and shutil.disk_usage(folder).free < _ALMOST_FULL
