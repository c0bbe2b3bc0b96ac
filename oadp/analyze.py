"""Where the average precision of novel classes goes: ``python -m oadp.analyze CONFIG RESULTS``.

Each object of the validation images was never proposed, called a base or another novel class,
poorly localised, missed, outscored or found; a table and a figure say how many of each there are,
which classes are confused, and what each kind of error costs (docs/analysis.md).
"""

__all__ = ['main']

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file

_MIN_WIDTH = 140  # columns of the tables where the output is a file or a pipe

if TYPE_CHECKING:
    import numpy as np

    from oadp.dp.evaluation import GroundTruth

DRY_RUN_IMAGES = 4  # as many as oadp.dp.test has results of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog='python -m oadp.analyze',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('results', type=pathlib.Path, help='what oadp.dp.test --out FILE.pkl or FILE.json wrote')
    regions = parser.add_mutually_exclusive_group()
    regions.add_argument(
        '--proposals',
        type=pathlib.Path,
        metavar='FILE.pkl',
        help='proposals of the validation images, as oadp.proposals writes them, to count objects '
        'that were never proposed',
    )
    regions.add_argument(
        '--dump',
        type=pathlib.Path,
        metavar='DIR',
        help='the same from a dump of the score fusion search, whose regions are taken',
    )
    add(
        '--file-order',
        action='store_true',
        help='the proposals are in the order of the annotation file, not of ascending image ids',
    )
    add('--confusions', type=int, default=10, metavar='N', help='how many to list; default 10')
    add(
        '--out',
        type=pathlib.Path,
        metavar='FILE',
        help='write the figure (.png, .pdf, .svg) here and all figures beside it as .json; '
        'default: RESULTS.analysis.png beside the results',
    )
    args = parser.parse_args(argv)
    if args.confusions < 1:
        parser.error(f'--confusions {args.confusions}: expected 1 or more')
    if args.file_order and args.proposals is None:
        parser.error('--file-order is about --proposals, which is not given')
    if args.out is not None and args.out.suffix not in ('.png', '.pdf', '.svg'):
        parser.error(f'--out {args.out}: expected a file that ends in .png, .pdf or .svg')
    return args


def load_regions(args: argparse.Namespace, truth: 'GroundTruth') -> 'dict[int, np.ndarray] | None':
    """Read what the detector looked at, (n, 4 or 5) boxes by image id; None where it is not given.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: another format, or other images.
    """
    if args.proposals is not None:
        import numpy as np

        from oadp.data.proposals import load_proposals

        sizes = truth.sizes_wh()
        ids = truth.images_in_file_order
        proposals = load_proposals(
            args.proposals, ids, [sizes[i] for i in ids], not args.file_order
        )
        for image_id, boxes in proposals.items():
            if not np.isfinite(boxes).all():
                raise ValueError(
                    f'{args.proposals}: NaN or infinity in proposals of image {image_id}'
                )
        return proposals
    if args.dump is not None:
        from oadp.dp.fusion.records import Dump

        dump = Dump(args.dump)
        return {i: dump.read(i).boxes.numpy() for i in truth.image_ids}
    return None


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from rich.console import Console

    from oadp.dp.evaluation import GroundTruth
    from oadp.dp.evaluation.analysis import analyze
    from oadp.dp.evaluation.files import read_results
    from oadp.dp.evaluation.report import draw_figure, tables

    figure = args.out or args.results.with_suffix('.analysis.png')
    for path in (figure, figure.with_suffix('.json')):
        check_file('--out', path, inputs=[args.config, args.results])
    config = load_config(args.config, args.override)
    truth = GroundTruth.from_config(config)
    if runtime.dry_run():
        truth = GroundTruth.from_config(config, truth.images_in_file_order[:DRY_RUN_IMAGES])
    analysis = analyze(truth, read_results(args.results, truth), load_regions(args, truth))
    console = Console(width=None if sys.stdout.isatty() else _MIN_WIDTH)
    console.print(*tables(analysis, args.confusions))
    figures = figure.with_suffix('.json')
    with atomic_write(figure) as temporary:
        draw_figure(analysis, temporary, figure.suffix.lstrip('.'), args.confusions)
    with atomic_write(figures) as temporary:
        temporary.write_text(json.dumps(analysis.to_json(), indent=1), encoding='utf-8')
    print(f'figure: {figure}\nfigures: {figures}')


if __name__ == '__main__':
    run('oadp.analyze', main)
