"""Name ground-truth boxes without training: ``python -m oadp.probe CONFIG [CHECKPOINT]``.

Prints how often CLIP's stored features (objects, blocks, image), compared with the prompts of the
config, name what is there; with a checkpoint also how often each head of the detector does, and
their fusion. Boxes are given, so this judges names alone: features, prompts, crops, temperatures
(docs/analysis.md). Writes the accuracies, also of each class, as JSON.
"""

__all__ = ['main']

import argparse
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config, to_plain
from oadp.utils.files import atomic_write

if TYPE_CHECKING:
    import rich.table

    from oadp.categories import Categories
    from oadp.dp.evaluation import GroundTruth
    from oadp.dp.evaluation.probe import Tally

DRY_RUN_IMAGES = 4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog='python -m oadp.probe',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add('checkpoint', type=pathlib.Path, nargs='?', help='probe the heads of this detector as well')
    add('--split', choices=('val', 'train'), default='val', help='whose images; default: val')
    add(
        '--annotations',
        metavar='FILE',
        help='of the split, with all classes; default: the file of the config, which for train has '
        'base classes alone',
    )
    add(
        '--prompts',
        metavar='FILE',
        help="compare CLIP's features with these; default: the config's",
    )
    add('--images', type=int, metavar='N', help='the first N images only')
    add(
        '--out', type=pathlib.Path, metavar='FILE.json', help='default: work_dirs/probe/CONFIG.json'
    )
    args = parser.parse_args(argv)
    if args.images is not None and args.images < 1:
        parser.error(f'--images {args.images}: expected 1 or more')
    return args


def split_config(config: Mapping[str, Any], split: str, annotations: str | None) -> dict[str, Any]:
    """Return the plain config with the validation dataset showing the images of a split.

    Args:
        config: a whole loaded config.
        split: ``val`` or ``train``.
        annotations: in place of the config's file.
    """
    plain = to_plain(config)
    dataset = plain['validator']['dataloader']['dataset']
    if split == 'train':
        trained = _feature_dataset(plain['trainer']['dataloader']['dataset'])
        dataset.update({k: trained[k] for k in ('ann_file', 'img_prefix') if k in trained})
    if annotations is not None:
        dataset['ann_file'] = annotations
    return plain


def _feature_dataset(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the dataset within wrappers."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def feature_sources(config: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return where the config's CLIP features of a split are, by kind; empty where it has none."""
    from oadp.dp.data.clip_features import LoadCLIPFeatures

    pipeline = _feature_dataset(config['trainer']['dataloader']['dataset'])['pipeline']
    for step in pipeline:
        if step['type'] == 'LoadCLIPFeatures':
            options = {k: v for k, v in step.items() if k not in ('type', 'split')}
            return LoadCLIPFeatures(**options, split=split).sources
    return {}


def open_truth(config: Mapping[str, Any], number: int | None) -> 'GroundTruth':
    """Open the annotations, of the first images alone where a number is given."""
    from oadp.dp.evaluation import GroundTruth

    truth = GroundTruth.from_config(config)
    number = DRY_RUN_IMAGES if runtime.dry_run() else number
    if number is None or number >= len(truth.image_ids):
        return truth
    return GroundTruth.from_config(config, truth.images_in_file_order[:number])


def probe_checkpoint(
    config: dict[str, Any], checkpoint: pathlib.Path, truth: 'GroundTruth'
) -> 'dict[str, Tally]':
    """Probe the heads of a trained detector."""
    from oadp.dp import build_dataset
    from oadp.dp.data.loaders import build_val_loader
    from oadp.dp.engine.checkpoints import load_detector
    from oadp.dp.evaluation.probe import probe_detector

    dataloader = config['validator']['dataloader']
    dataloader['dataset']['max_images'] = len(truth.image_ids)
    with runtime.launch() as world:
        if world.is_distributed:
            raise ValueError('oadp.probe runs in one process: start it with python, not torchrun')
        loader = build_val_loader(build_dataset(config, 'val'), dataloader, world)
        detector = load_detector(config, checkpoint, world.device)
        return probe_detector(detector, loader, truth, world.device)


def _percent(value: float | None) -> str:
    return '–' if value is None or value < 0 else f'{100 * value:.1f}'


def to_table(tallies: 'Mapping[str, Tally]', categories: 'Categories') -> 'rich.table.Table':
    """Return a row for each tally: accuracy on base and novel classes, by object and by class."""
    import rich.table

    table = rich.table.Table(title='zero-shot accuracy on ground-truth boxes (%)')
    table.add_column('', no_wrap=True)
    columns = (
        'base',
        'novel',
        'base, mean of classes',
        'novel, mean of classes',
        'judged',
        'covered',
    )
    for column in columns:
        table.add_column(column, justify='right')
    groups = slice(categories.num_bases), slice(categories.num_bases, None)
    for name, tally in tallies.items():
        by_class = tally.by_class()
        means = [by_class[group][by_class[group] >= 0] for group in groups]
        table.add_row(
            name,
            *(_percent(tally.accuracy(group)) for group in groups),
            *(_percent(float(values.mean()) if values.size else -1.0) for values in means),
            f'{tally.total.sum():,}',
            _percent(tally.covered),
        )
    return table


def to_json(tallies: 'Mapping[str, Tally]', categories: 'Categories') -> dict[str, Any]:
    """Return accuracies by tally: ``base``, ``novel``, ``covered``, and ``classes`` by name."""
    bases = categories.num_bases
    return {
        name: dict(
            base=tally.accuracy(slice(bases)),
            novel=tally.accuracy(slice(bases, None)),
            covered=tally.covered,
            classes={
                category: dict(accuracy=float(accuracy), judged=int(total))
                for category, accuracy, total in zip(
                    categories.all_, tally.by_class(), tally.total, strict=True
                )
            },
        )
        for name, tally in tallies.items()
    }


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from rich.console import Console

    from oadp.dp.evaluation.probe import probe_features, prompts_of

    config = split_config(load_config(args.config, args.override), args.split, args.annotations)
    truth = open_truth(config, args.images)
    prompts = prompts_of(config['model'])
    if args.prompts is not None:
        prompts = dict.fromkeys(prompts, args.prompts)
    sources = feature_sources(config, args.split)
    tallies, absent = probe_features(truth, sources, prompts)
    for kind in absent:
        runtime.get_logger().warning(
            'no image of the %s split has features of %s, which are left out; '
            'python -m oadp.oake.%s extracts them', args.split, kind, kind,
        )  # fmt: skip
    if args.checkpoint is not None:
        tallies |= probe_checkpoint(config, args.checkpoint, truth)
    if not tallies:
        raise FileNotFoundError(
            f'the {args.split} split has no CLIP features where the config says, and no checkpoint '
            'is given: there is nothing to probe'
        )
    Console().print(to_table(tallies, truth.categories))
    folder = pathlib.Path('work_dirs', *(['dry_run'] if runtime.dry_run() else []), 'probe')
    out = args.out or folder / f'{pathlib.Path(args.config).stem}.json'
    with atomic_write(out) as temporary:
        temporary.write_text(
            json.dumps(to_json(tallies, truth.categories), indent=1), encoding='utf-8'
        )
    print(f'accuracies: {out}')


if __name__ == '__main__':
    run('oadp.probe', main)
