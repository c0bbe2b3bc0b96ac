"""Evaluate a detector: ``(python|torchrun) -m oadp.dp.test CONFIG CHECKPOINT [--metrics …]``."""

import argparse
import dataclasses
import pathlib

from oadp.dp import register
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog='python -m oadp.dp.test',
        description='Evaluate a checkpoint on the validation images of its config. Prints a table '
        'and writes the metrics as JSON. Environment: DRY_RUN=True: a few images; DUMP=DIR: write '
        'the records for the score fusion search instead of evaluating.',
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('checkpoint', type=pathlib.Path, help='such as work_dirs/NAME/latest.pth')
    add('--metrics', nargs='+', choices=('bbox', 'segm'), default=['bbox'], help='default: bbox')
    add('--classwise', action='store_true', help='each class as well: a table, and a CSV file')
    add('--out', type=pathlib.Path, metavar='FILE', help='write the detections: FILE.pkl as mmdet '
        'does, FILE.json in the results format of COCO; oadp.analyze reads either')  # fmt: skip
    add('--out-json', type=pathlib.Path, metavar='FILE', help='where the metrics go; default: see '
        'the last line printed')  # fmt: skip
    add('--show-dir', type=pathlib.Path, metavar='DIR', help='write pictures of the detections')
    add('--show-score-thr', type=float, default=0.3, help='lowest score in pictures; default 0.3')
    add('--show-errors', action='store_true', help='in those pictures: missed objects in green, and '
        'in red what is false, by name')  # fmt: skip
    add('--fusion', metavar='FILE|JSON', help="the score fusion's parameters, as the search writes")
    return parser.parse_args(argv)


def check_dump(args: argparse.Namespace, root: pathlib.Path | None) -> None:
    """Refuse options that a dump, which is written before scores are fused, has no use for."""
    useless = [k for k in ('out', 'out_json', 'show_dir', 'fusion') if getattr(args, k) is not None]
    if root is not None and useless:
        options = ', '.join(f'--{key.replace("_", "-")}' for key in useless)
        raise ValueError(
            f'DUMP={root} has records written instead of an evaluation, so {options} would do '
            'nothing: unset DUMP, or leave them out'
        )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_dump(args, root := runtime.dump_dir())
    config = load_config(args.config, args.override)
    register()
    from oadp.dp.data.datasets import build_dataset
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
