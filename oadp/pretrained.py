"""Download the pretrained weights, or list where they come from.

``python -m oadp.pretrained clip resnet50`` downloads the two files that have a stable address. The
other ones are on file-sharing sites that need a browser; the command prints their addresses.
"""

__all__ = ['main']

import argparse
import sys

from oadp.data.sources import BY_HAND, DOWNLOADS
from oadp.utils.command import ArgumentParser, run


def _list() -> str:
    lines = ['Downloaded by this command:']
    for name, download in DOWNLOADS.items():
        state = 'present' if download.path.is_file() else 'missing'
        lines += [f'  {name:9} {download.what}', f'            {download.path} ({state})']
    lines += ['', 'To be downloaded with a browser:']
    for name, item in BY_HAND.items():
        lines += [f'  {name:9} {item.what}']
        for path in item.paths:
            lines += [f'            {path} ({"present" if path.is_file() else "missing"})']
        lines += [f'            from {address}' for address in item.where]
    return '\n'.join(lines)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments: ``names``, each a key of ``DOWNLOADS`` or ``BY_HAND``."""
    parser = ArgumentParser(
        prog='python -m oadp.pretrained',
        description='Download pretrained weights to pretrained/ and verify them; without names, '
        'list all files of the README and where they come from.',
    )
    known = ', '.join([*DOWNLOADS, *BY_HAND])
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'one or more of {known}')
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - {*DOWNLOADS, *BY_HAND})
    if unknown:
        parser.error(f'unknown: {", ".join(unknown)}; choose from {known}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status, 1 if any of the named files is missing at the end."""
    names = parse_args(argv).names
    if not names:
        print(_list())
        return 0
    return max(_download(name) if name in DOWNLOADS else _check_by_hand(name) for name in names)


def _download(name: str) -> int:
    from oadp.data.download import DownloadError, fetch

    item = DOWNLOADS[name]
    try:
        is_new = fetch(item.url, item.path, item.sha256)
    except DownloadError as e:
        print(e, file=sys.stderr)
        return 1
    print(f'{item.path}: {"downloaded" if is_new else "present"}, with the right checksum')
    return 0


def _check_by_hand(name: str) -> int:
    item = BY_HAND[name]
    missing = [str(path) for path in item.paths if not path.is_file()]
    if missing:
        print(
            f'{", ".join(missing)}: missing; download {"it" if len(missing) == 1 else "them"} with '
            f'a browser from {" or ".join(item.where)}',
            file=sys.stderr,
        )
        return 1
    print(f'{", ".join(map(str, item.paths))}: present')
    return 0


if __name__ == '__main__':
    run('oadp.pretrained', main)
