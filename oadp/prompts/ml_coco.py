"""Learn the multi-label prompts of a category set: ``data/prompts/ml_coco.pth`` for COCO.

Under torchrun, each process computes a share of the classes (see ``multi_label_training``).
"""

__all__ = ['main', 'train']

import argparse
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from oadp.categories import get_categories
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import OverrideAction, load_config, to_plain
from oadp.utils.runtime import ProcessInfo

DEFAULT_CONFIG = pathlib.Path('configs/prompts/ml_coco.py')
_KEYS = (
    *('categories', 'clip', 'out', 'train', 'val', 'num_workers', 'prompts', 'loss', 'optimizer'),
    *('batch_size', 'epochs', 'seed', 'log_interval', 'checkpoint_interval'),
)
_COUNTS = dict(batch_size=1, epochs=0, log_interval=1, checkpoint_interval=1)
"""Config key to its lowest value; no epochs write the prompts before training."""

_PATHS = ('train', 'val', 'out', 'num_workers')  # config keys that are not settings of the training


def _check(config: Mapping[str, Any]) -> None:
    """Check that a config has all keys and valid counts."""
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f'the config has no {missing}; expected the keys of {DEFAULT_CONFIG}')
    for key, lowest in _COUNTS.items():
        if type(config[key]) is not int or config[key] < lowest:
            raise ValueError(
                f'{key} is {config[key]!r}; expected a whole number of at least {lowest}'
            )


def train(config: Any, world: ProcessInfo, work_dir: pathlib.Path) -> list[dict[str, float]]:
    """Train with a config, write the prompt file, and return the history of losses and mAP."""
    import torch

    from oadp.clip.weights import load_clip
    from oadp.data.prompt_files import output_path, save_prompts
    from oadp.prompts.image_labels import read_image_labels
    from oadp.prompts.multi_label import MultiLabelPrompts
    from oadp.prompts.multi_label_training import MultiLabelTraining, balance

    _check(config)
    dry_run = runtime.dry_run()
    settings = {k: v for k, v in to_plain(config).items() if k not in _PATHS}
    if dry_run:
        settings['epochs'] = 1
    categories = get_categories(config.categories)
    options = settings['prompts']
    bias = options['bias']
    prompts = MultiLabelPrompts(
        load_clip(config.clip, world.device),
        categories.all_,
        **{**options, 'bias': 0.0 if bias is None else bias},
    )
    train, val = (
        split and read_image_labels(split, categories, world, config.num_workers, dry_run)
        for split in (config.train, config.val)
    )
    if bias is None:
        balance(prompts, train.to(world.device), categories.num_bases)
    training = MultiLabelTraining(prompts, categories, train, val, settings, world, work_dir)
    training.run()
    if world.is_main:
        with torch.no_grad():
            embeddings = prompts.embed()
        out = output_path(config.out)
        save_prompts(out, prompts.names, embeddings, scaler=prompts.scaler, bias=prompts.bias)
        runtime.get_logger().info('%s: %d names', out, len(prompts.names))
    runtime.barrier()
    return training.history


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of ``python -m oadp.prompts.ml_coco``."""
    parser = ArgumentParser(
        prog='python -m oadp.prompts.ml_coco',
        description='Learn a context for class names from multi-label images. Needs the weights of CLIP, the blocks '
        'features of OAKE and the annotation splits, but no images. Writes the prompt file that the config names, and '
        'a checkpoint to work_dirs/prompts/, from which an interrupted training resumes. DRY_RUN=True uses a few '
        'images and writes to work_dirs/dry_run/.',
    )
    parser.add_argument(
        'config',
        type=pathlib.Path,
        nargs='?',
        default=DEFAULT_CONFIG,
        help='a Python config (default: %(default)s)',
    )
    parser.add_argument(
        '--override',
        action=OverrideAction,
        default={},
        metavar='KEY:VALUE',
        help='change config keys: .a.b:LITERAL for a Python literal, .a.b::TEXT for a string',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    config = load_config(args.config, args.override)
    import torch

    with runtime.launch() as world:
        work_dir = runtime.work_dir('prompts', args.config.stem)
        if runtime.dry_run():
            if world.is_main:
                shutil.rmtree(work_dir, ignore_errors=True)
            runtime.barrier()
        if world.is_main:
            runtime.get_logger(file=work_dir / 'log.txt')
        _check(config)
        torch.manual_seed(config.seed)
        train(config, world, work_dir)


if __name__ == '__main__':
    run('oadp.prompts.ml_coco', main)
