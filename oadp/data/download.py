"""Download a file and verify it before it gets its name.

The work is done by pooch, which writes to a temporary file in the same folder and renames that file
once its checksum is right.
"""

__all__ = ['DownloadError', 'fetch']

import os
import pathlib
import sys

TIMEOUT = 10  # seconds without a byte
RETRIES = 3  # after the first attempt, with pauses of 1, 2 and 3 seconds
_CHUNK = 1 << 16  # bytes written at a time


class DownloadError(RuntimeError):
    """A file could not be downloaded; the message says what to do by hand."""


def fetch(
    url: str,
    path: str | os.PathLike,
    sha256: str,
    *,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> bool:
    """Download a file, unless it is present.

    An interrupted download starts again from the first byte.

    Args:
        url: address of the file.
        path: where to write it; its folder is created.
        sha256: checksum, 64 hexadecimal digits.
        timeout: seconds without a byte after which an attempt fails.
        retries: number of attempts after the first one.

    Returns:
        True if the file was downloaded, False if it was present with the right checksum.

    Raises:
        DownloadError: no network, a connection that breaks in every attempt, a wrong checksum, or
            a different file at ``path``, which is kept.
        OSError: the file cannot be written.
    """
    import pooch
    import requests

    path = pathlib.Path(path)
    if path.is_file():
        found = pooch.file_hash(path, 'sha256')
        if found != sha256:
            raise DownloadError(
                f'{path}: expected a file with the SHA-256 {sha256}, found one with {found}; move '
                'it away and run this command again'
            )
        return False
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=_CHUNK, timeout=timeout
    )
    files = pooch.create(
        path=path.parent,
        base_url='',
        registry={path.name: f'sha256:{sha256}'},
        urls={path.name: url},
        retry_if_failed=retries,
    )
    try:
        files.fetch(path.name, downloader=downloader)
    except requests.RequestException as e:
        raise DownloadError(f'{url}: {e}. {_by_hand(url, path)}') from e
    except ValueError as e:  # pooch: another checksum
        raise DownloadError(f'{url}: {e}. Nothing was kept. {_by_hand(url, path)}') from e
    # pooch's temporary file is its owner's alone; let whoever may read the folder read the file.
    path.chmod(path.parent.stat().st_mode & 0o666)
    return True


def _by_hand(url: str, path: pathlib.Path) -> str:
    return f'Run this command again, or download {url} with another tool and save it as {path}'
