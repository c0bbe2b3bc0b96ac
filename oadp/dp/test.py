"""Evaluate a detector: ``(python|torchrun) -m oadp.dp.test CONFIG CHECKPOINT [--metrics …]``."""

import argparse
import dataclasses
import pathlib

from oadp.dp import register
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser = ArgumentParser(
        prog='python -m oadp.dp.test',
        description='Evaluate a checkpoint on the validation images of its config. Prints the metrics '
        'as a table and writes them as JSON. Environment variables: DRY_RUN=True: evaluate on a few '
        'images; DUMP=DIR: write the records for the score fusion search instead of evaluating.',
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('checkpoint', type=pathlib.Path, help='the weights, such as work_dirs/NAME/latest.pth')
    add('--metrics', nargs='+', choices=('bbox', 'segm'), default=['bbox'], help='default: bbox')
    add(
        '--classwise',
        action='store_true',
        help='also report each category, as a table and a CSV file',
    )
    add('--out', type=pathlib.Path, metavar='FILE', help='write the detections: FILE.pkl as mmdet '
        'does, FILE.json in the results format of COCO; oadp.analyze reads either')  # fmt: skip
    add('--out-json', type=pathlib.Path, metavar='FILE', help='write the metrics to this file; '
        'default: beside the checkpoint, as the last line printed says')  # fmt: skip
    add(
        '--show-dir',
        type=pathlib.Path,
        metavar='DIR',
        help='draw the detections of each image into DIR',
    )
    add(
        '--show-score-thr', type=float, default=0.3, help='lowest score that is drawn; default: 0.3'
    )
    add('--show-errors', action='store_true', help='also draw missed objects in green, and false '
        'detections in red')  # fmt: skip
    add(
        '--fusion',
        metavar='FILE|JSON',
        help='the parameters of the score fusion, as the search writes them',
    )
    return parser.parse_args(argv)


def check_dump(args: argparse.Namespace, root: pathlib.Path | None) -> None:
    """Check that no option is given that has no effect while records are dumped.

    Raises:
        ValueError: such options are given with ``DUMP``; the message lists them.
    """
    useless = [k for k in ('out', 'out_json', 'show_dir', 'fusion') if getattr(args, k) is not None]
    if root is not None and useless:
        options = ', '.join(f'--{key.replace("_", "-")}' for key in useless)
        raise ValueError(
            f'{options} would have no effect: with DUMP={root}, records are written instead of '
            'evaluating; unset DUMP, or omit the options'
        )


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    check_dump(args, root := runtime.dump_dir())
    config = load_config(args.config, args.override)
    register()
    from oadp.dp.data.build import build_dataset
    from oadp.dp.engine.checkpoints import load_detector
    from oadp.dp.evaluation.outputs import Outputs, evaluate, set_fusion
    from oadp.dp.fusion.record_dataset import dump_dataset
    from oadp.dp.fusion.scores import FusionParameters

    fusion = None if args.fusion is None else FusionParameters.from_text(args.fusion)
    names = [field.name for field in dataclasses.fields(Outputs)]
    outputs = Outputs(**{name: getattr(args, name) for name in names})
    with runtime.launch() as world:
        dataset = build_dataset(config, 'val')
        if root is None:
            outputs.check([args.config, args.checkpoint, dataset.ann_file])
        detector = load_detector(config, args.checkpoint, world.device)
        if fusion is not None:
            set_fusion(detector, fusion)
        if root is not None:
            dump_dataset(detector, config, args.checkpoint, dataset, root, world)
        else:
            evaluate(detector, dataset, config, outputs, world)


if __name__ == '__main__':
    run('oadp.dp.test', main)
