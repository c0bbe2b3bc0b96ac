"""Detect the names you give in your own images.

Writes an image with boxes, names and scores for each image, and all detections to one file,
``detections.json``, in the format of COCO's results with two more keys: the names of the class and of
the image.
"""

__all__ = ['main']

import argparse
import functools
import pathlib
from collections.abc import Sequence

from oadp.inference.arguments import (
    add_detector_arguments,
    check_detector_arguments,
    is_exported,
    load_detector,
)
from oadp.utils.command import ArgumentParser, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.detect',
        description='Detect the given names in images. Needs the prompt files of CONFIG, but no '
        'dataset. Writes a drawing of each image, and detections.json (COCO results with names). '
        'DRY_RUN=True takes two images and writes to work_dirs/dry_run/detect.',
    )
    add_detector_arguments(parser)
    parser.add_argument(
        'images', nargs='*', metavar='IMAGE', help='image, folder of images, or pattern'
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        '--vocabulary',
        metavar='WORDS',
        help='names to detect, such as "red kite, mug" (default: the classes of CONFIG)',
    )
    words.add_argument(
        '--vocabulary-file', type=pathlib.Path, metavar='FILE', help='file of names, one per line'
    )
    parser.add_argument(
        '--score-threshold',
        type=_fraction,
        default=0.3,
        help='keep detections that score higher (default: %(default)s)',
    )
    parser.add_argument(
        '--max-detections', type=_positive, default=100, help='per image (default: %(default)s)'
    )
    parser.add_argument(
        '--output',
        type=pathlib.Path,
        default=pathlib.Path('work_dirs/detect'),
        metavar='DIR',
        help='folder of the drawings and detections.json (default: %(default)s)',
    )
    # Intermixed: options may be between the positional arguments, some of which are optional.
    args = parser.parse_intermixed_args(argv)
    if is_exported(args) and args.checkpoint is not None:
        args.images.insert(0, str(args.checkpoint))
        args.checkpoint = None
    check_detector_arguments(parser, args)
    if not args.images:
        parser.error('an IMAGE is missing')
    return args


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a number from 0 to 1')
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected a number of at least 1')
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status, 1 if any image is missing from the output."""
    args = parse_args(argv)
    from oadp.inference.detect_images import detect_images

    faults = detect_images(
        functools.partial(load_detector, args),
        args.images,
        args.output,
        words=args.vocabulary,
        words_file=args.vocabulary_file,
        score_threshold=args.score_threshold,
        max_detections=args.max_detections,
    )
    return 1 if faults else 0


if __name__ == '__main__':
    run('oadp.detect', main)
