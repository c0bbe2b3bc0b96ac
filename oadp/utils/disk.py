"""Report a full disk with the name of the file that was written."""

__all__ = ['naming_full_disk']

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ALMOST_FULL = 1 << 20  # bytes; torch fails if less is left than it writes at once


@contextlib.contextmanager
def naming_full_disk(path: str | os.PathLike) -> Iterator[None]:
    """Name the file in the error if the disk is full while it is written.

    Errors of ``write`` have no file name, and torch's file writer raises a ``RuntimeError`` with
    neither the name nor the reason.

    Args:
        path: the final file, even if a temporary one is written.

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
