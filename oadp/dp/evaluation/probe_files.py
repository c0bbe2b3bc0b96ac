"""Probe the features and the detector of a config: print the table and write the accuracies."""

from __future__ import annotations

__all__ = ['feature_sources', 'probe_files', 'split_config', 'to_json', 'to_table']

import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import rich.table
from rich.console import Console

from oadp.categories import Categories
from oadp.dp import build_dataset
from oadp.dp.data.clip_features import LoadCLIPFeatures
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.checkpoints import load_detector
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.probe import Tally, probe_detector, probe_features, prompts_of
from oadp.utils import runtime
from oadp.utils.config import to_plain
from oadp.utils.files import atomic_write

DRY_RUN_IMAGES = 4


def probe_files(
    config: Mapping[str, Any],
    checkpoint: pathlib.Path | None,
    out: pathlib.Path,
    *,
    split: Literal['train', 'val'] = 'val',
    annotations: str | None = None,
    prompts: str | None = None,
    num_images: int | None = None,
) -> None:
    """Probe features and, if a checkpoint is given, the heads of the detector.

    Args:
        config: a loaded config.
        checkpoint: weights of a detector of the config.
        out: JSON file to write.
        split: ``val`` or ``train``.
        annotations: annotation file of the split, in place of the config's.
        prompts: prompt file to compare with, in place of the config's.
        num_images: number of images, the first of the annotation file; all by default.

    Raises:
        FileNotFoundError: there is neither a checkpoint nor any features.
    """
    plain = split_config(config, split, annotations)
    truth = open_truth(plain, num_images)
    files = prompts_of(plain['model'])
    if prompts is not None:
        files = dict.fromkeys(files, prompts)
    tallies, absent = probe_features(truth, feature_sources(plain, split), files)
    for kind in absent:
        runtime.get_logger().warning(
            'no image of the %s split has features of %s, so they are not probed; '
            'python -m oadp.oake.%s extracts them', split, kind, kind,
        )  # fmt: skip
    if checkpoint is not None:
        tallies |= probe_checkpoint(plain, checkpoint, truth)
    if not tallies:
        raise FileNotFoundError(
            f'the {split} split has no CLIP features where the config expects them, and no '
            'checkpoint is given: there is nothing to probe'
        )
    Console().print(to_table(tallies, truth.categories))
    with atomic_write(out) as temporary:
        text = json.dumps(to_json(tallies, truth.categories), indent=1)
        temporary.write_text(text, encoding='utf-8')
    print(f'accuracies: {out}')


def split_config(config: Mapping[str, Any], split: str, annotations: str | None) -> dict[str, Any]:
    """Return the plain config, with the images of a split as the validation dataset.

    Args:
        config: a loaded config.
        split: ``val`` or ``train``.
        annotations: annotation file that replaces the config's.
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


def feature_sources(config: Mapping[str, Any], split: Literal['train', 'val']) -> Mapping[Any, Any]:
    """Return the locations of the config's CLIP features of a split by kind; empty if it has none."""
    pipeline = _feature_dataset(config['trainer']['dataloader']['dataset'])['pipeline']
    for step in pipeline:
        if step['type'] == 'LoadCLIPFeatures':
            options = {k: v for k, v in step.items() if k not in ('type', 'split')}
            return LoadCLIPFeatures(**options, split=split).sources
    return {}


def open_truth(config: Mapping[str, Any], number: int | None) -> GroundTruth:
    """Load the annotations, of the first images if a number is given."""
    truth = GroundTruth.from_config(config)
    number = DRY_RUN_IMAGES if runtime.dry_run() else number
    if number is None or number >= len(truth.image_ids):
        return truth
    return GroundTruth.from_config(config, truth.images_in_file_order[:number])


def probe_checkpoint(
    config: dict[str, Any], checkpoint: pathlib.Path, truth: GroundTruth
) -> dict[str, Tally]:
    """Probe the heads of a trained detector."""
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


def to_table(tallies: Mapping[str, Tally], categories: Categories) -> rich.table.Table:
    """Return a row for each tally: accuracy on base and novel classes, by object and by class."""
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


def to_json(tallies: Mapping[str, Tally], categories: Categories) -> dict[str, Any]:
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
