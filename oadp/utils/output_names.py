"""Derive output names from the names of images, and check the output paths that a user gives.

A file name in an annotation file may be absolute, contain ``..``, be too long with a suffix, or differ
from another one only in its suffix. Outputs must stay in their folder, and must not overwrite each
other or an input. The paths that a user gives are checked before the computation whose result they
receive.
"""

__all__ = ['check_apart', 'check_file', 'check_folder', 'output_stems']

import functools
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_MAX_BYTES = 255  # of a file name, in common file systems
_SUFFIX_BYTES = 4  # the suffix that is added to a stem: .jpg, .png
_SUFFIXES = ('.jpg', '.png')
_ABSOLUTE = re.compile(r'[\\/]|[A-Za-z]:[\\/]')
_CONTROL = re.compile(r'[\x00-\x1f\x7f]')


def output_stems(names: Sequence[str]) -> list[str]:
    r"""Derive the path of each image's output, relative to a folder and without a suffix.

    The folders of a relative name are kept; those of an absolute one, and ``..``, are removed. If two
    paths would be the same (ignoring case), ``_2``, ``_3``, … are added; a name that is too long is
    truncated and ends in a checksum.

    Args:
        names: file names, with ``/`` or ``\`` between folders.

    Returns:
        One path per name, with ``/``; they are distinct, also with a suffix of four characters.

    >>> output_stems(['a/x.png', 'a/X.jpg', '../../x.png', '/photos/y.jpg'])
    ['a/x', 'a/X_2', 'x', 'y']
    """
    split = [_split(name) for name in names]
    folders = {_key(parts[:i]) for parts in split for i in range(1, len(parts))}
    taken: set[str] = set()
    stems = []
    for *parents, last in split:
        stem = pathlib.PurePosixPath(last).stem
        n, path = 1, [*parents, _shorten(stem, _MAX_BYTES - _SUFFIX_BYTES)]
        while (key := _key(path)) in taken or any(key + suffix in folders for suffix in _SUFFIXES):
            n += 1
            path = [*parents, _shorten(f'{stem}_{n}', _MAX_BYTES - _SUFFIX_BYTES)]
        taken.add(key)
        stems.append('/'.join(path))
    return stems


def _split(name: str) -> list[str]:
    """Return the parts of a name that are safe in any folder; at least one."""
    parts = [p for p in re.split(r'[\\/]', name) if p not in ('', '.', '..')]
    if _ABSOLUTE.match(name):
        parts = parts[-1:]
    parts = [_CONTROL.sub('_', part) for part in parts] or ['image']
    return [*(_shorten(part, _MAX_BYTES) for part in parts[:-1]), parts[-1]]


def _key(parts: Sequence[str]) -> str:
    """Return a key that is equal for names that some file systems consider equal."""
    return unicodedata.normalize('NFC', '/'.join(parts)).casefold()


def _shorten(name: str, max_bytes: int) -> str:
    data = os.fsencode(name)
    if len(data) <= max_bytes:
        return name
    checksum = '~' + hashlib.sha256(data).hexdigest()[:8]
    while len(os.fsencode(name)) > max_bytes - len(checksum):
        name = name[:-1]
    return name + checksum


def check_apart(
    option: str, outputs: Iterable[pathlib.Path], sources: Iterable[pathlib.Path]
) -> None:
    """Refuse outputs in a folder that images are read from.

    Args:
        option: the option of the folder, for the message.
        outputs: files to be written.
        sources: files that are read.

    Raises:
        ValueError: an output is in a folder of a source.
    """
    resolve = functools.cache(os.path.realpath)
    read = {resolve(path.parent): path.parent for path in sources}
    for folder in {path.parent for path in outputs}:
        if resolve(folder) in read:
            raise ValueError(
                f'{folder}: holds images that are read, so nothing is written there; choose '
                f'another {option}'
            )


def check_file(
    option: str,
    path: pathlib.Path,
    suffixes: Sequence[str] = (),
    inputs: Iterable[str | os.PathLike] = (),
) -> None:
    """Refuse an output file that could not be written, before the computation.

    Args:
        option: the option of the file, for the message.
        path: the file to be written.
        suffixes: allowed suffixes; any by default.
        inputs: files that are read and must not be overwritten.

    Raises:
        ValueError: the file cannot be written; the message gives the reason.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f'{option} {path}: expected a name that ends in {" or ".join(suffixes)}')
    try:
        if path.is_dir():
            raise ValueError(f'{option} {path}: expected a file, and this is a folder')
        for source in inputs:
            if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
                raise ValueError(f'{option} {path}: this file is read, and would be overwritten')
        _check_parents(option, path)
    except OSError as e:
        raise ValueError(f'{option} {path}: cannot be written ({e.strerror})') from e


def check_folder(option: str, path: pathlib.Path) -> None:
    """Refuse a folder that could not be created or written to, before the computation.

    Raises:
        ValueError: the folder cannot be written; the message gives the reason.
    """
    try:
        _check_parents(option, path / 'any')
    except OSError as e:
        raise ValueError(f'{option} {path}: cannot be written ({e.strerror})') from e


def _check_parents(option: str, path: pathlib.Path) -> None:
    for parent in path.absolute().parents:
        if os.path.lexists(parent):
            if not parent.is_dir():
                raise ValueError(f'{option}: {parent} is not a folder, so nothing can be in it')
            if not os.access(parent, os.W_OK | os.X_OK):
                raise ValueError(f'{option}: {parent} is a folder that may not be written to')
            return
