"""Convert a large file once, and find the result again by the content of the file.

The result is in the folder ``.oadp_cache`` beside the file, or in the user's cache folder if that one cannot
be written. Its name and the key within it contain the SHA-256 of the source: an edited file is converted
again, whatever its time and size. Everything in these folders can be deleted.
"""

__all__ = ['FOLDER', 'open_converted']

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import platformdirs

from oadp.data.converted.array_file import ArrayFile, ArrayWriter
from oadp.utils import runtime
from oadp.utils.files import atomic_write, sha256

FOLDER = '.oadp_cache'
_LOCK = 'lock'
_KEY = 'key'
_KEEP = 24 * 3600  # seconds without use, after which the result of an older content is removed
_LARGE = 10_000_000  # bytes
_DIGITS = 16  # of the SHA-256s in file names
_NAME = re.compile(rf'(?P<stem>.*)-(?P<content>[0-9a-f]{{{_DIGITS}}})-[0-9a-f]{{{_DIGITS}}}\.npz')
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,  # a file has the name of the folder
    errno.ENOTDIR,
)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of some network file systems


def open_converted(
    source: str | os.PathLike,
    settings: Mapping[str, Any],
    convert: Callable[[ArrayWriter], None],
) -> ArrayFile:
    """Return the arrays that a file is converted to, from the cache if they are there.

    If several processes start at once, one of them converts and the others wait for it.

    Args:
        source: the file.
        settings: whatever else the result depends on, such as the version of the format; JSON.
        convert: read the source and write the arrays; called only if there is no valid result.

    Raises:
        FileNotFoundError: no such file.
        OSError: no folder can be written, or the disk is full.
        ValueError: the source changed while it was converted; or an error of ``convert``.
    """
    source = pathlib.Path(source)
    content = sha256(source)
    key = json.dumps({**settings, 'sha256': content}, sort_keys=True)
    made_of = hashlib.sha256(key.encode()).hexdigest()
    name = f'{source.stem[:100]}-{content[:_DIGITS]}-{made_of[:_DIGITS]}.npz'
    folders = [source.parent / FOLDER, _user_folder()]
    for folder in folders:
        if (found := _open_valid(folder / name, key)) is not None:
            return found
    with _locked_folder(folders, source) as folder:
        path = folder / name
        # Another process may have made it while this one waited.
        return _open_valid(path, key) or _convert(source, content, key, convert, path)


def _user_folder() -> pathlib.Path:
    return platformdirs.user_cache_path('oadp', appauthor=False) / 'converted'


def _open_valid(path: pathlib.Path, key: str) -> ArrayFile | None:
    """Open a result; None if there is none, or it is damaged."""
    try:
        found = ArrayFile(path)
        if bytes(found.read(_KEY, 0, found.size(_KEY))).decode() != key:
            raise ValueError(f'{path}: made of another file')
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (ValueError, OSError) as e:
        runtime.get_logger().warning('%s; it is made again', e)
        return None
    with contextlib.suppress(OSError):  # of another user
        os.utime(path)
    return found


@contextlib.contextmanager
def _locked_folder(folders: list[pathlib.Path], source: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield the first folder that can be written; only one process has it at a time."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open('a')
            break
        except OSError as e:
            if e.errno not in _NOT_WRITABLE:
                raise
    else:
        raise OSError(
            errno.EACCES,
            f'the arrays that {source} is converted to can be written neither there nor in the '
            'cache folder of the user; set XDG_CACHE_HOME to a folder that can be written',
            str(folders[-1]),
        )
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as e:
            if e.errno not in _NO_LOCKS:
                raise
            # Without the lock several processes may convert. The last one counts; all are equal.
        yield folder


def _convert(
    source: pathlib.Path,
    content: str,
    key: str,
    convert: Callable[[ArrayWriter], None],
    path: pathlib.Path,
) -> ArrayFile:
    size, begin = source.stat().st_size, time.monotonic()
    # A small file takes no time, so its conversion is not worth a line.
    log = runtime.get_logger().info if size >= _LARGE else runtime.get_logger().debug
    log('%s: converting %.0f MB, once for this content', source, size / 1e6)
    with atomic_write(path) as temporary, ArrayWriter(temporary) as writer:
        convert(writer)
        writer.add_bytes(_KEY, [key.encode()])
        if sha256(source) != content:
            raise ValueError(f'{source}: changed while it was read; start again')
    seconds, made = time.monotonic() - begin, path.stat().st_size / 1e6
    log('%s: converted in %.0f s to %s (%.0f MB)', source, seconds, path, made)
    _remove_older(path)
    return ArrayFile(path, verify=False)


def _remove_older(path: pathlib.Path) -> None:
    """Remove the results of older contents of a file that have not been used for a day."""
    made = _NAME.fullmatch(path.name)
    assert made is not None
    for other in path.parent.iterdir():
        match = _NAME.fullmatch(other.name)
        if match and match['stem'] == made['stem'] and match['content'] != made['content']:
            with contextlib.suppress(OSError):  # another process removed it, or a user owns it
                if time.time() - other.stat().st_mtime > _KEEP:
                    other.unlink()
