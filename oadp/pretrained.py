"""Download the pretrained weights, or list where they come from.

``python -m oadp.pretrained clip resnet50`` downloads the two files that have a stable address. The
other ones are on file-sharing sites that need a browser; the command prints their addresses.
"""

__all__ = ['BY_HAND', 'DOWNLOADS', 'ByHand', 'Download', 'main']

import argparse
import dataclasses
import pathlib
import sys

from oadp.clip.files import CLIP_PATH, OPENAI_SHA256
from oadp.utils.command import ArgumentParser, run

_AUTHORS = 'https://pan.baidu.com/s/1HXWYSN9Vk6yDhjRI19JrfQ?pwd=OADP'
"""The share of OADP's authors."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A file on the open web.

    Attributes:
        url: its address.
        path: where the configs expect it.
        sha256: its checksum, 64 hexadecimal digits.
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
        sha256='0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a',
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
