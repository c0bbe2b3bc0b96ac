"""Write the base and novel splits of COCO and LVIS, or of other files in COCO's format."""

__all__ = ['main']

import argparse
import pathlib
from collections.abc import Sequence

from oadp.utils.command import ArgumentParser, run

DATASETS = ('coco', 'lvis')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.build_annotations',
        description='Split COCO and LVIS annotations into base and novel classes: writes *.48.json, *.65.json, '
        '*.866.json, *.1203.json in the folders of their sources. With --annotations and --categories, splits any file of this format.',
    )
    parser.add_argument(
        '--data-root',
        type=pathlib.Path,
        default=pathlib.Path('data'),
        help='folder with coco/ and lvis_v1/ (default: %(default)s)',
    )
    parser.add_argument(
        '--datasets',
        nargs='+',
        choices=DATASETS,
        default=DATASETS,
        help='datasets to split (default: both)',
    )
    parser.add_argument(
        '--annotations',
        type=pathlib.Path,
        nargs='+',
        metavar='FILE',
        help='split these files instead, STEM.json to STEM.BASES.json, STEM.ALL.json and '
        'STEM.ALL.min.json, where BASES and ALL are numbers of categories',
    )
    parser.add_argument(
        '--categories',
        metavar='SET',
        help='their category set: a JSON file with base and novel names, coco or lvis',
    )
    parser.add_argument(
        '--out-dir',
        type=pathlib.Path,
        help='where to write these splits (default: the folder of each file)',
    )
    args = parser.parse_args(argv)
    if (args.annotations is None) != (args.categories is None):
        parser.error('--annotations and --categories need each other')
    if args.out_dir is not None and args.annotations is None:
        parser.error('--out-dir needs --annotations')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and write the splits."""
    args = parse_args(argv)
    from oadp.data.annotations.build import build_datasets, build_files

    if args.annotations is None:
        build_datasets(args.data_root, args.datasets)
    else:
        build_files(args.annotations, args.categories, args.out_dir)


if __name__ == '__main__':
    run('oadp.build_annotations', main)
