"""Classify ground-truth boxes with CLIP's features and the heads of a detector, without training.

Prints the accuracy of CLIP's stored features (objects, blocks, image) with the prompts of the config;
with a checkpoint, also the accuracy of each head of the detector and of their fusion. As the boxes are
the ground truth, the accuracy depends only on the classification: features, prompts, crops,
temperatures (docs/analysis.md). Writes the accuracies, also of each class, as JSON.
"""

__all__ = ['main']

import argparse
import pathlib

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.probe',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('checkpoint', type=pathlib.Path, nargs='?', help='also probe the heads of this detector')
    add(
        '--split', choices=('val', 'train'), default='val', help='split of the images; default: val'
    )
    add(
        '--annotations',
        metavar='FILE',
        help='annotations of the split with all classes; default: the file of the config, which for '
        'train has only base classes',
    )
    add(
        '--prompts',
        metavar='FILE',
        help="prompt file to compare CLIP's features with; default: the config's",
    )
    add('--images', type=int, metavar='N', help='use only the first N images')
    add(
        '--out', type=pathlib.Path, metavar='FILE.json', help='default: work_dirs/probe/CONFIG.json'
    )
    args = parser.parse_args(argv)
    if args.images is not None and args.images < 1:
        parser.error(f'--images {args.images}: expected 1 or more')
    return args


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, print the table and write the accuracies."""
    args = parse_args(argv)
    from oadp.dp.evaluation.probe_files import probe_files

    probe_files(
        load_config(args.config, args.override),
        args.checkpoint,
        args.out or runtime.work_dir('probe') / f'{args.config.stem}.json',
        split=args.split,
        annotations=args.annotations,
        prompts=args.prompts,
        num_images=args.images,
    )


if __name__ == '__main__':
    run('oadp.probe', main)
