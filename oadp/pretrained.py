"""Pretrained weights: what there is, where it goes, and downloading what can be downloaded.

``python -m oadp.pretrained clip resnet50`` fetches the two files that are on the open web. The rest
lies on file-sharing sites where a person has to click; they are listed with their addresses.

The download is our own because the usual helpers (``torch.hub``, ``clip.load``) begin again at the
first byte after a broken connection and leave a half file under the final name.
"""

__all__ = ['BY_HAND', 'DOWNLOADS', 'ByHand', 'Download', 'DownloadError', 'fetch', 'main']

import dataclasses
import hashlib
import http.client
import pathlib
import sys
import urllib.error
import urllib.request

from oadp.clip.files import CLIP_PATH, OPENAI_SHA256
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.progress import Progress

TIMEOUT = 10  # seconds without an answer or a byte
ATTEMPTS = 5  # connections in a row that may break off before the run gives up
CHUNK = 1 << 20  # bytes read at a time, and the unit of the progress bar

_AUTHORS = 'https://pan.baidu.com/s/1HXWYSN9Vk6yDhjRI19JrfQ?pwd=OADP'
"""The share of OADP's authors."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A file on the open web.

    Attributes:
        url: its address.
        path: where the configs expect it.
        sha256: its checksum in hexadecimal, or the first digits where only these are published.
        what: for people.
    """

    url: str
    path: pathlib.Path
    sha256: str
    what: str


@dataclasses.dataclass(frozen=True)
class ByHand:
    """A file that a person has to download.

    Attributes:
        paths: where the configs expect it.
        where: the addresses at which its authors put it.
        what: for people.
    """

    paths: tuple[pathlib.Path, ...]
    where: tuple[str, ...]
    what: str


_CLIP_SHA256 = OPENAI_SHA256[CLIP_PATH.name]

DOWNLOADS = {
    'clip': Download(
        url=f'https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/{CLIP_PATH.name}',
        path=CLIP_PATH,
        sha256=_CLIP_SHA256,
        what='CLIP ViT-B/32: prompts, features, distillation',
    ),
    'resnet50': Download(
        url='https://download.pytorch.org/models/resnet50-0676ba61.pth',
        path=pathlib.Path('pretrained/torchvision/resnet50-0676ba61.pth'),
        sha256='0676ba61',  # torchvision publishes eight digits, in the name
        what='ResNet-50 trained on ImageNet: the backbone',
    ),
}

BY_HAND = {
    'soco': ByHand(
        paths=(pathlib.Path('pretrained/soco/soco_star_mask_rcnn_r50_fpn_400e.pth'),),
        where=(
            'https://drive.google.com/file/d/1z6Tb2MPFJDv9qpEyn_J0cJcXOguKTiL0/view?usp=sharing',
            'https://pan.baidu.com/s/1FHN-9vsH16w4TAusyHnXvg?pwd=kwps',
        ),
        what='SoCo backbone, for OV-COCO and OV-LVIS',
    ),
    'detpro': ByHand(
        paths=(pathlib.Path('pretrained/detpro/iou_neg5_ens.pth'),),
        where=('https://pan.baidu.com/s/1MjV1DqiO0gHftyKjuiPrTA?pwd=uvab',),
        what='DetPro prompt, from which oadp.prompts.detpro makes the one for OV-LVIS',
    ),
    'ml_coco': ByHand(
        paths=(pathlib.Path('data/prompts/ml_coco.pth'),),
        where=(_AUTHORS,),
        what="learned prompts of OADP's authors, for OV-COCO",
    ),
    'proposals': ByHand(
        paths=tuple(
            pathlib.Path(f'data/{name}_{split}.pkl')
            for name in (
                'coco/proposals/rpn_r101_fpn_coco',
                'coco/proposals/oln_r50_fpn_coco',
                'lvis_v1/proposals/oln_r50_fpn_lvis',
            )
            for split in ('train', 'val')
        ),
        where=(_AUTHORS,),
        what='object proposals, for oadp.oake.objects',
    ),
}


class DownloadError(RuntimeError):
    """A file could not be fetched; says what to do by hand."""


def fetch(download: Download, timeout: float = TIMEOUT) -> bool:
    """Download a file, unless it is there. What a broken run has left is continued.

    The bytes go to ``.NAME.part`` beside the file, which gets its name once the checksum is right.

    Args:
        download: the file; ``path`` is relative to the current directory.
        timeout: seconds without an answer or a byte after which a connection is given up.

    Returns:
        Whether it was downloaded; False if it was there, with the right checksum.

    Raises:
        DownloadError: no network, a connection that keeps breaking off, or a wrong checksum.
    """
    path = download.path
    if path.is_file():
        found = _sha256(path)
        if not found.startswith(download.sha256):
            raise DownloadError(
                f'{path} is there with another content: its SHA-256 should begin with '
                f'{download.sha256} and is {found}; move it away and run this again'
            )
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    _download(download, part, timeout)
    found = _sha256(part)
    if not found.startswith(download.sha256):
        part.unlink()
        raise DownloadError(
            f'{download.url} gave a file of the SHA-256 {found}, which should begin with '
            f'{download.sha256}; nothing was kept. Run this again, or {_by_hand(download)}'
        )
    part.replace(path)
    return True


def _by_hand(download: Download) -> str:
    return f'download {download.url} by other means and put it at {download.path}'


def _download(download: Download, part: pathlib.Path, timeout: float) -> None:
    broken = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(download.url, part, timeout, label=download.path.name):
                return
            reason = 'the connection broke off'
        except (OSError, http.client.HTTPException) as e:  # URLError is an OSError
            reason = str(getattr(e, 'reason', e)) or type(e).__name__
        after = part.stat().st_size if part.exists() else 0
        # Without a single new byte another try would fail like this one.
        broken = broken + 1 if after > before else ATTEMPTS
        if broken >= ATTEMPTS:
            kept = f' {after} bytes are kept, and the next run continues there.' if after else ''
            raise DownloadError(
                f'{download.url}: {reason}.{kept} Without a network, {_by_hand(download)}'
            )
        runtime.get_logger().info('%s: %s; continuing at byte %d', download.url, reason, after)


def _continue(url: str, part: pathlib.Path, timeout: float, label: str) -> bool:
    """One connection. Returns whether all of the file is there."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={start}-'} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as e:
        if e.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing comes after the last byte; the checksum says whether it is right
        raise
    with response:
        if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # the server sends all of it again
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        with (
            part.open('ab' if start else 'wb') as f,
            Progress(-(-(total or 0) // CHUNK), label, 'MiB') as progress,
        ):
            progress.update(start // CHUNK)
            # Not more than what is there, so that what has arrived is kept when the rest does not.
            while chunk := response.read1(CHUNK):
                before = f.tell() // CHUNK
                f.write(chunk)
                progress.update(f.tell() // CHUNK - before)
            return total is None or f.tell() == total


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as f:
        while chunk := f.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _list() -> str:
    lines = ['Downloaded by this command:']
    for name, download in DOWNLOADS.items():
        state = 'there' if download.path.is_file() else 'not there'
        lines += [f'  {name:9} {download.what}', f'            {download.path} ({state})']
    lines += ['', 'To be downloaded by hand:']
    for name, item in BY_HAND.items():
        lines += [f'  {name:9} {item.what}']
        for path in item.paths:
            lines += [f'            {path} ({"there" if path.is_file() else "not there"})']
        lines += [f'            from {address}' for address in item.where]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if anything asked for is missing in the end."""
    parser = ArgumentParser(
        prog='python -m oadp.pretrained',
        description='Download pretrained weights to pretrained/, checked and resumable; without '
        'names, list all files of the README with where they come from.',
    )
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help=f'of {", ".join([*DOWNLOADS, *BY_HAND])}'
    )
    names = parser.parse_args(argv).names
    unknown = sorted(set(names) - {*DOWNLOADS, *BY_HAND})
    if unknown:
        parser.error(
            f'unknown: {", ".join(unknown)}; choose from {", ".join([*DOWNLOADS, *BY_HAND])}'
        )
    if not names:
        print(_list())
        return 0
    return max(_get(name) for name in names)


def _get(name: str) -> int:
    if name in BY_HAND:
        return _check_by_hand(BY_HAND[name])
    try:
        fetched = fetch(DOWNLOADS[name])
    except DownloadError as e:
        print(e, file=sys.stderr)
        return 1
    print(f'{DOWNLOADS[name].path}: {"downloaded" if fetched else "there"}, checksum right')
    return 0


def _check_by_hand(item: ByHand) -> int:
    missing = [str(path) for path in item.paths if not path.is_file()]
    if missing:
        print(
            f'{", ".join(missing)}: not there, and cannot be downloaded by a program; get '
            f'{"it" if len(missing) == 1 else "them"} in a browser from {" or ".join(item.where)}',
            file=sys.stderr,
        )
        return 1
    print(f'{", ".join(map(str, item.paths))}: there')
    return 0


if __name__ == '__main__':
    run('oadp.pretrained', main)
