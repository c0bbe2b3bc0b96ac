"""The arguments of commands that load a detector. This module imports nothing heavy, such as torch."""

from __future__ import annotations

__all__ = ['add_detector_arguments', 'check_detector_arguments', 'is_exported', 'load_detector']

import argparse
import pathlib
from typing import TYPE_CHECKING

from oadp.data.sources import CLIP_PATH
from oadp.utils.config import add_config_arguments, load_config

if TYPE_CHECKING:
    from oadp.inference.detector import Detector


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``load_detector``: config, checkpoint, CLIP, device."""
    add_config_arguments(parser)
    parser.add_argument(
        'checkpoint',
        type=pathlib.Path,
        nargs='?',
        help='weights of a detector of CONFIG; an .onnx file of oadp.export replaces both',
    )
    parser.add_argument(
        '--clip',
        type=pathlib.Path,
        help='weights of the CLIP that the detector was trained with, for names that are neither in its '
        f"prompt files nor in the cache (default: the config's `clip`, or {CLIP_PATH})",
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: the GPU if there is one)')


def is_exported(args: argparse.Namespace) -> bool:
    """Return whether an ONNX file is given in place of CONFIG and CHECKPOINT."""
    return args.config.suffix == '.onnx'


def check_detector_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with a message if arguments of ``load_detector`` are missing or contradictory."""
    if is_exported(args) and args.override:
        parser.error('--override changes a config, but an ONNX file has none')
    if not is_exported(args) and args.checkpoint is None:
        parser.error('CHECKPOINT is missing; only an .onnx file of oadp.export needs none')


def load_detector(args: argparse.Namespace) -> Detector:
    """Load the detector of a command; errors are those of ``Detector``."""
    from oadp.inference.torch_detector import Detector

    if is_exported(args):
        return Detector.from_onnx(args.config, device=args.device, clip=args.clip)
    config = load_config(args.config, args.override)
    return Detector.from_checkpoint(config, args.checkpoint, device=args.device, clip=args.clip)
