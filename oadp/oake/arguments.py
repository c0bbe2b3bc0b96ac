"""Parse the command line of the three extractions, before torch is imported."""

__all__ = ['main', 'parse_args']

import argparse
import importlib
from collections.abc import Sequence

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser
from oadp.utils.config import add_config_arguments, load_config

_TASKS = {'globals': 'Globals', 'blocks': 'Blocks', 'objects': 'Objects'}
"""Kind of features, which is the name of a module, to the class in that module."""

_INPUTS = {'globals': 'whole images', 'blocks': 'blocks of images', 'objects': 'proposals'}
_EXAMPLES = {'globals': 'globals', 'blocks': 'blocks', 'objects': 'objects_coco'}


def parse_args(kind: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of ``python -m oadp.oake.KIND``."""
    parser = ArgumentParser(
        prog=f'python -m oadp.oake.{kind}',
        description=f'Extract CLIP features of {_INPUTS[kind]}. Needs CLIP '
        f'(pretrained/clip/ViT-B-32.pt), images{", proposals" if kind == "objects" else ""} and '
        'annotations. Writes one record per image to the output_dir of the config; images with a record are '
        'skipped. DRY_RUN=True extracts a few images and writes to work_dirs/dry_run/NAME.',
    )
    parser.add_argument('name', help='name of the run; the log is written to work_dirs/NAME')
    add_config_arguments(parser, f'oake/{_EXAMPLES[kind]}')
    return parser.parse_args(argv)


def main(kind: str, argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status, 1 if an image failed."""
    args = parse_args(kind, argv)
    config = load_config(args.config, args.override)
    from oadp.oake.run import run

    task = getattr(importlib.import_module(f'.{kind}', __package__), _TASKS[kind])
    with runtime.launch() as world:
        reports = run(task, args.name, config, world)
    return 1 if any(report.failed for report in reports) else 0
