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
"""Folders that this process has scanned; each is scanned once, as it may hold 118,287 files."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yield a temporary path to write to; at the end of the block the file is renamed to ``path``.

    The temporary file is created empty and exclusively, and synced to the disk before it is renamed.
    After an error it is removed, and an existing file keeps its content.

    Args:
        path: the file to write; its folder is created.

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
    # Exclusively: do not follow a link that another user created.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with naming_full_disk(path):
            yield temporary
            _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_symlink(path: str | os.PathLike, target: str | os.PathLike) -> None:
    """Replace ``path`` by a symbolic link to ``target``."""
    path = pathlib.Path(path)
    temporary = _temporary_path(path.parent)
    try:
        temporary.symlink_to(target)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the temporary files in a folder that no running process writes.

    Files of another machine, or with the number of a running process, are removed if they have not
    changed for a day.
    """
    with contextlib.suppress(FileNotFoundError), os.scandir(os.fspath(folder)) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and _is_abandoned(entry, match['machine'], int(match['pid'])):
                with contextlib.suppress(
                    OSError
                ):  # another process removed it, or another user owns it
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
    """Return eight digits that identify where process numbers are unique: a machine or a container."""
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
            os.kill(pid, 0)  # only checks whether the process exists
    except ProcessLookupError:
        return True
    except OSError:  # the file does not exist, or another user owns the process
        pass
    return False


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
