"""Write a trained detector as one folder, to share or publish it.

``Detector.from_pretrained`` loads the folder; docs/export.md describes its files.
"""

__all__ = ['main']

import argparse
import pathlib
from collections.abc import Sequence

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config

_LICENSE = pathlib.Path(__file__).parent.parent / 'LICENSE'
"""This project's license, in a checkout."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.bundle',
        description='Write one folder with the config, the weights, the vocabulary, the prompts and '
        'the license of a detector, for Detector.from_pretrained.',
    )
    add_config_arguments(parser)
    parser.add_argument('checkpoint', type=pathlib.Path, help='weights of a detector of CONFIG')
    parser.add_argument(
        'folder', type=pathlib.Path, help='the folder to write; must be new or empty'
    )
    parser.add_argument(
        '--metrics',
        type=pathlib.Path,
        metavar='FILE',
        help='JSON file of metrics, such as the one that oadp.dp.test writes',
    )
    parser.add_argument(
        '--license',
        '--licence',
        type=pathlib.Path,
        default=_LICENSE,
        metavar='FILE',
        help="license of the weights (default: this project's LICENSE)",
    )
    parser.add_argument(
        '--push',
        metavar='USER/NAME',
        help='upload the folder, with the token of `hf auth login` (needs the extra `hub`)',
    )
    parser.add_argument('--private', action='store_true', help='make the new repository private')
    args = parser.parse_args(argv)
    if args.private and args.push is None:
        parser.error('--private needs --push')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, write the folder and upload it if asked for."""
    args = parse_args(argv)
    from oadp.inference import hub
    from oadp.inference.bundle import write_bundle

    logger = runtime.get_logger()
    if args.push is not None:
        hub.import_hub()
    config = load_config(args.config, args.override)
    write_bundle(
        config, args.checkpoint, args.folder, license_file=args.license, metrics=args.metrics
    )
    logger.info('%s: written', args.folder)
    if args.push is not None:
        logger.info('%s', hub.push_to_hub(args.folder, args.push, private=args.private))


if __name__ == '__main__':
    run('oadp.bundle', main)
