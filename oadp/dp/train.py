"""Train a detector: ``(python|torchrun) -m oadp.dp.train NAME CONFIG [--override …]``."""

import argparse

from oadp.dp import register
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, dump_config, load_config


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser = ArgumentParser(
        prog='python -m oadp.dp.train',
        description='Train a detector. The annotations, images, prompts and CLIP features that the '
        'config names must exist. Writes config.py, train.log, TensorBoard curves and checkpoints '
        '(latest.pth is the newest one) to work_dirs/NAME, or to work_dirs/dry_run/NAME with DRY_RUN.',
        epilog='Resume with --override .trainer.resume_from::work_dirs/NAME/latest.pth. Environment '
        'variables: DRY_RUN=True: train for a few steps; TRAIN_WITH_VAL_DATASET=True: train on the '
        'validation images.',
    )
    parser.add_argument('name', help='name of the run, which is its folder under work_dirs/')
    add_config_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    config = load_config(args.config, args.override)
    register()
    from oadp.dp.engine.run import prepare

    work_dir = runtime.work_dir(args.name)
    with runtime.launch() as world:
        logger = runtime.get_logger(file=work_dir / 'train.log')
        if world.is_main:
            dump_config(config, work_dir / 'config.py')
        prepare(config, work_dir, world, logger).run()


if __name__ == '__main__':
    run('oadp.dp.train', main)
