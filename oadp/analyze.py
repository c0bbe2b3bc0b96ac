"""Show where the average precision of novel classes is lost.

Each object of the validation images is found, or it is not proposed, classified as a base or another
novel class, poorly localized, missed or outscored. A table and a figure show how many of each there
are, which classes are confused, and how much AP each kind of error costs (docs/analysis.md).
"""

__all__ = ['main']

import argparse
import pathlib

from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config
from oadp.utils.output_names import check_file


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.analyze',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('results', type=pathlib.Path, help='file of oadp.dp.test --out FILE.pkl or FILE.json')
    regions = parser.add_mutually_exclusive_group()
    regions.add_argument(
        '--proposals',
        type=pathlib.Path,
        metavar='FILE.pkl',
        help='proposals of the validation images (a file of oadp.proposals), to count the objects '
        'that are not proposed',
    )
    regions.add_argument(
        '--dump',
        type=pathlib.Path,
        metavar='DIR',
        help='records of the score fusion search, whose regions replace the proposals',
    )
    add(
        '--file-order',
        action='store_true',
        help='the proposals are in the order of the annotation file, not of ascending image ids',
    )
    add(
        '--confusions',
        type=int,
        default=10,
        metavar='N',
        help='number of confused classes to list; default 10',
    )
    add(
        '--out',
        type=pathlib.Path,
        metavar='FILE',
        help='write the figure (.png, .pdf, .svg) to this file and all numbers to the .json file of '
        'the same name; default: RESULTS.analysis.png',
    )
    args = parser.parse_args(argv)
    if args.confusions < 1:
        parser.error(f'--confusions {args.confusions}: expected 1 or more')
    if args.file_order and args.proposals is None:
        parser.error('--file-order needs --proposals')
    if args.out is not None and args.out.suffix not in ('.png', '.pdf', '.svg'):
        parser.error(f'--out {args.out}: expected a file that ends in .png, .pdf or .svg')
    return args


def main(argv: list[str] | None = None) -> None:
    """Parse the arguments, print the tables and write the figure."""
    args = parse_args(argv)
    figure = args.out or args.results.with_suffix('.analysis.png')
    for path in (figure, figure.with_suffix('.json')):
        check_file('--out', path, inputs=[args.config, args.results])
    from oadp.dp.evaluation.analyze_files import analyze_files

    config = load_config(args.config, args.override)
    analyze_files(
        config,
        args.results,
        figure,
        args.confusions,
        proposals=args.proposals,
        dump=args.dump,
        file_order=args.file_order,
    )


if __name__ == '__main__':
    run('oadp.analyze', main)
