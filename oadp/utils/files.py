"""Write files atomically, and compute their checksums.

A temporary file is created beside the file that it replaces, since renaming is atomic only within a file
system. Its name contains the machine and the process that write it instead of the name of the file:
the name is never too long, and the next process that writes to the folder recognizes the files that a
killed process left.
"""

__all__ = ['atomic_symlink', 'atomic_write', 'remove_leftovers', 'sha256']

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import secrets
import socket
import time
from collections.abc import Iterator

from oadp.utils.disk import naming_full_disk

_ABANDONED_AFTER = 24 * 3600  # seconds without a change, of a file of another machine
_BLOCK = 1 << 20  # bytes read at a time
_TEMPORARY = re.compile(r'\.(?P<machine>[0-9a-f]{8})\.(?P<pid>\d+)\.[0-9a-f]{16}\.oadp-tmp')

_cleaned: set[str] = set()
"""Folders that this process has looked through; a folder of features has 118,287 files."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Give a temporary path to write to, whose file gets its name at the end of the block.

    The temporary file is created empty, exclusively, and synced to the disk before it is renamed.
    After an error it is removed, and the file is as it was.

    Args:
        path: the file; its folder is made.

    >>> with atomic_write('work_dirs/NAME/metrics.json') as temporary:  # doctest: +SKIP
    ...     temporary.write_text('{}')
    """
    path = pathlib.Path(path)
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if (key := os.path.abspath(folder)) not in _cleaned:
        _cleaned.add(key)
        remove_leftovers(folder)
    temporary = _temporary_path(folder)
    # Exclusively: a link that somebody put there is not followed.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with naming_full_disk(path):
            yield temporary
            _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_symlink(path: str | os.PathLike, target: str | os.PathLike) -> None:
    """Let ``path`` be a symbolic link to ``target``, in place of what it was."""
    path = pathlib.Path(path)
    temporary = _temporary_path(path.parent)
    try:
        temporary.symlink_to(target)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the temporary files in a folder whose process is gone.

    Of another machine, or of a process whose number is in use, those are that have not changed for a
    day.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(os.fspath(folder)) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and _is_abandoned(entry, match['machine'], int(match['pid'])):
                with contextlib.suppress(OSError):  # another process removed it, or it is not ours
                    os.unlink(entry.path)


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        FileNotFoundError: no such file.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _temporary_path(folder: pathlib.Path) -> pathlib.Path:
    return folder / f'.{_machine()}.{os.getpid()}.{secrets.token_hex(8)}.oadp-tmp'


@functools.cache
def _machine() -> str:
    """Eight digits for what process numbers are unique in: a machine, or a container on it."""
    with contextlib.suppress(OSError):
        return _digest(f'{socket.gethostname()} {os.readlink("/proc/self/ns/pid")}')
    return _digest(socket.gethostname())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _is_abandoned(entry: os.DirEntry, machine: str, pid: int) -> bool:
    try:
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_AFTER:
            return True
        if machine == _machine():
            os.kill(pid, 0)  # asks whether the process is there
    except ProcessLookupError:
        return True
    except OSError:  # the file is gone, or the process is another user's
        pass
    return False


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
