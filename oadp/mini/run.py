"""Run the embedded benchmark: list its commands, run them, and print the results."""

__all__ = ['main']

import argparse
import dataclasses
import importlib
import os
import pathlib
import signal
import sys
import time

from rich.console import Console

from oadp.mini.pipeline import SMALL, Scale, stages
from oadp.mini.results import DEMO, SETTINGS, WORK, collect, tabulate
from oadp.mini.settings import TEACHER_PHASES
from oadp.mini.stages import Runner, StageError
from oadp.utils.command import ArgumentParser
from oadp.utils.config_files import shipped_configs

SMALL_ROOT = pathlib.Path('work_dirs/mini_small')

_NEXT = """\
Images: {root}/{work}/detections.jpg   Metrics: {root}/{work}/results.json
Next steps:
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --score-threshold 0.2 --output {work}/detect
  python -m oadp.detect configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth data/mini/val --vocabulary "{words}" --score-threshold 0.2 --output {work}/detect_words
  python -m oadp.web configs/mini/oadp.py {work}/seed{seed}/oadp/latest.pth
  docs/custom_dataset.md: the same with your own images and categories"""

_WORDS = 'star, dotted heart, striped ball, plain pine, spotted fish, halved arrow'


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the arguments of the command line."""
    parser = ArgumentParser(
        prog='python -m oadp.mini',
        description='Run the method on a laptop: draw a small dataset, extract the features of a small '
        'CLIP that knows all of its classes, and train detectors on boxes of two thirds of them, without '
        'and with distillation. Needs no data or weights. Completed stages are skipped. Writes data/mini, '
        f'pretrained/mini and {WORK} (results.json, detections.jpg).',
    )
    parser.add_argument('--seeds', type=int, default=1, help='number of seeds, from 0; default: 1')
    parser.add_argument(
        '--settings',
        nargs='+',
        choices=SETTINGS,
        default=DEMO,
        help='the detectors to train; default: ' + ' '.join(DEMO),
    )
    parser.add_argument(
        '--data-seed',
        type=int,
        default=0,
        metavar='N',
        help='seed of the images, and of the CLIP if it is trained; default: %(default)s',
    )
    parser.add_argument(
        '--proposals',
        type=int,
        metavar='N',
        help='proposals per image that CLIP encodes; default: as in configs/mini/rpn.py',
    )
    parser.add_argument(
        '--small',
        action='store_true',
        help='check that every stage runs, in two minutes instead of twenty; the results mean nothing; '
        f'in {SMALL_ROOT}',
    )
    parser.add_argument(
        '--root',
        type=pathlib.Path,
        help='folder of data, pretrained and work_dirs; default: the working directory',
    )
    parser.add_argument(
        '--teacher-steps',
        type=int,
        metavar='N',
        help='train the CLIP for N steps instead of using the one that the package ships, which was '
        f'trained for {sum(phase.iterations for phase in TEACHER_PHASES)}; stages that depend on it are run again',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace outputs that this command has no record of',
    )
    args = parser.parse_args(arguments)
    for name in ('seeds', 'teacher_steps', 'proposals'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} {value}: expected 1 or more')
    if args.data_seed < 0:
        parser.error(f'--data-seed {args.data_seed}: expected 0 or more')
    # In the order of the table, each once.
    args.settings = [name for name in SETTINGS if name in args.settings]
    return args


def main(arguments: list[str] | None = None) -> None:
    """Run the stages and print the table."""
    args = parse_args(arguments)
    root = args.root or (SMALL_ROOT if args.small else pathlib.Path())
    root.mkdir(parents=True, exist_ok=True)
    if not (root / 'configs').exists():
        (root / 'configs').symlink_to(shipped_configs())
    cores = os.cpu_count() or 1
    runner = Runner(
        root,
        WORK / 'stages',
        slots=min(cores, 2),
        threads=max(cores // 2, 1),
        overwrite=args.overwrite,
    )
    scale = SMALL if args.small else Scale()
    scale = dataclasses.replace(scale, proposals=args.proposals)
    if args.teacher_steps is not None:
        scale = dataclasses.replace(scale, teacher_steps=args.teacher_steps)
    start = time.monotonic()
    seeds = range(args.seeds)
    # The stages' configs need it: imported before the handlers are set, which raise wherever they come.
    importlib.import_module('oadp.utils.config_layers')
    # When killed, or when the terminal is closed, end as with Ctrl-C, so that no stage keeps
    # running.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        runner.run(stages(seeds, scale, args.settings, args.data_seed))
    except StageError as e:
        sys.exit(str(e))
    console = Console()
    console.print(tabulate(collect(root, seeds, args.settings)))
    console.print(
        _NEXT.format(root=root, work=WORK, seed=0, words=_WORDS), highlight=False, soft_wrap=True
    )
    console.print(f'{(time.monotonic() - start) / 60:.1f} minutes')
