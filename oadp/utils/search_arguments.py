"""Options of the score fusion search, in a module that does not import mmdet."""

__all__ = ['add_search_arguments']

import argparse


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that a single evaluation and the whole search share."""
    parser.add_argument(
        '--objective',
        metavar='METRIC',
        help='metric to maximize: one of the table, or novel_AP50, base_AP50, all_AP50, APr, …; '
        'default: the metric that the paper reports (novel AP50, or APr for LVIS)',
    )
    parser.add_argument(
        '--images',
        metavar='train|val|FILE',
        help='use one of two fixed halves of the images, or those whose ids are in FILE; so '
        'that a setting can be found on some images and evaluated on others',
    )
