"""Sources of the pretrained weights, prompts and proposals: paths, addresses and checksums.

This module imports neither torch nor a command, so that the help of a command can name a path without
loading torch.
"""

__all__ = ['BY_HAND', 'CLIP_PATH', 'DOWNLOADS', 'OPENAI_SHA256', 'ByHand', 'Download']

import dataclasses
import pathlib

CLIP_PATH = pathlib.Path('pretrained/clip/ViT-B-32.pt')
"""Path of OpenAI's CLIP ViT-B/32."""

OPENAI_SHA256 = {
    'ViT-B-32.pt': '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
}
"""SHA-256 of OpenAI's archives, by file name (their download addresses contain it)."""

_AUTHORS = 'https://pan.baidu.com/s/1HXWYSN9Vk6yDhjRI19JrfQ?pwd=OADP'
"""Address at which the authors of OADP share their files."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A file that a program can download.

    Attributes:
        url: address of the file.
        path: path at which the configs expect it.
        sha256: its checksum, 64 hexadecimal digits.
        what: a short description.
    """

    url: str
    path: pathlib.Path
    sha256: str
    what: str


@dataclasses.dataclass(frozen=True)
class ByHand:
    """Files that have to be downloaded with a browser.

    Attributes:
        paths: paths at which the configs expect them.
        where: addresses at which their authors share them.
        what: a short description.
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
