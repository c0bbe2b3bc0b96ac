"""Check an annotation file: ``python -m oadp.check_annotations FILE [--categories SET] [--images DIR]``."""

__all__ = ['main']

import argparse
import pathlib
import sys
from collections.abc import Sequence

import rich.console
import rich.markup
import rich.table

from oadp.categories import get_categories
from oadp.data.annotations.checks import Report
from oadp.data.annotations.file import AnnotationFile
from oadp.data.annotations.image_files import check_image_files
from oadp.data.annotations.lists import Need
from oadp.utils.command import ArgumentParser, run

_FILE_WIDTH = 1000  # characters: lines of the table are not wrapped in a file or a pipe
_NEEDS: list[Need] = ['annotations', 'any_name', 'box', 'size']


def report_table(report: Report) -> rich.table.Table:
    """Return the findings of a check as a table, errors first."""
    table = rich.table.Table(title=rich.markup.escape(str(report.path)))
    table.add_column('')
    table.add_column('what', overflow='fold')
    table.add_column('count', justify='right')
    table.add_column('such as', overflow='fold')
    table.add_column('what to do, or what is assumed', overflow='fold')
    for kind, findings in (('error', report.errors), ('tolerated', report.tolerated)):
        for finding in findings:
            cells = finding.what, f'{finding.count}', finding.shown, finding.advice
            table.add_row(kind, *map(rich.markup.escape, cells))
    return table


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.check_annotations',
        description="Check an annotation file in COCO's or LVIS's format as all commands that read it "
        'do, and print its errors. Exit status: 1 if it has errors.',
    )
    add = parser.add_argument
    add('file', type=pathlib.Path, metavar='FILE', help='the annotation file')
    add(
        '--categories',
        metavar='SET',
        help='category set whose names must all be in the file: a JSON file with base and novel '
        'names, coco or lvis',
    )
    add(
        '--images',
        type=pathlib.Path,
        metavar='DIR',
        help='folder of the images: check that they exist and have the sizes in the file',
    )
    add('--masks', action='store_true', help='also check that each annotation has a mask')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and print the report; return 1 if the file has errors."""
    args = parse_args(argv)
    categories = None if args.categories is None else get_categories(args.categories)
    needs: list[Need] = [*_NEEDS, 'mask'] if args.masks else _NEEDS
    _, report = AnnotationFile.check(args.file, needs, categories)
    if args.images is not None:
        check_image_files(report.images, args.images, report.errors)
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console = rich.console.Console(width=width)
    if report.errors or report.tolerated:
        console.print(report_table(report))
    counts = ', '.join(f'{count} {name}' for name, count in report.counts.items())
    print(f'{report.path}: {counts}; {len(report.errors)} kinds of errors')
    return 1 if report.errors else 0


if __name__ == '__main__':
    run('oadp.check_annotations', main)
