"""Serve a web page for the detector: the visitor gives an image and words, and gets boxes."""

__all__ = ['main']

import argparse
import pathlib
from collections.abc import Sequence

from oadp.inference.arguments import (
    add_detector_arguments,
    check_detector_arguments,
    is_exported,
    load_detector,
)
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='python -m oadp.web',
        description='Serve a web page that detects the names that visitors type. Needs the prompt '
        'files of CONFIG, and Gradio (the extra `web`). Works offline.',
    )
    add_detector_arguments(parser)
    parser.add_argument('--port', type=int, default=7860, help='(default: %(default)s)')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 for access from other machines (default: %(default)s, only '
        'this machine)',
    )
    args = parser.parse_intermixed_args(argv)
    if is_exported(args) and args.checkpoint is not None:
        parser.error(f'{args.checkpoint}: an .onnx file replaces CONFIG and CHECKPOINT')
    check_detector_arguments(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, load the detector and serve the page."""
    args = parse_args(argv)
    from oadp.inference import web_page

    web_page.import_gradio()
    detector = load_detector(args)
    examples = []
    if not is_exported(args):
        config = load_config(args.config, args.override)
        folder = pathlib.Path(config.validator.dataloader.dataset.img_prefix)
        examples = web_page.find_examples(folder)
    web_page.serve(detector, examples, args.host, args.port)


if __name__ == '__main__':
    run('oadp.web', main)
