"""What the three extractions do with their config; ``arguments`` is their command line."""

__all__ = ['default_batch_size', 'run']

import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from oadp.clip.precision import resolve_precision
from oadp.clip.weights import CLIP_PATH, load_clip
from oadp.data.features.stores import open_store
from oadp.oake.encoder import ImageEncoder
from oadp.oake.extraction import Options, Report, Split, extract
from oadp.oake.image_list import load_images
from oadp.oake.meter import duration
from oadp.oake.ranks import Ranks
from oadp.oake.task import Task
from oadp.utils import runtime
from oadp.utils.config import dump_config, to_plain

SPLITS = ('val', 'train')
"""Validation images first: mistakes show sooner."""

DRY_RUN_IMAGES = 4  # of each split
_BATCH_TOKENS = dict(cpu=3200, cuda=512 * 198)
"""Tokens of a mini-batch. CPU: 16 parts of an image for ViT-B/32, whose activations stay in cache;
GPU: 512 of them (reference configuration)."""

_DATASET_KEYS = ('root', 'annFile', 'output_dir', 'auto_fix', 'type')
_LOADER_KEYS = ('dataset', 'num_workers')


def run(
    task: type[Task], name: str, config: Mapping[str, Any], world: runtime.World
) -> list[Report]:
    """Extract one kind of features as a config says.

    Args:
        task: the kind.
        name: folder of the log under ``work_dirs``.
        config: as those in ``configs/oake``; ``train`` or ``val`` may be absent or None.
        world: this process among those of the run.

    Returns:
        A report a split.
    """
    root = runtime.work_dir(name)
    logger = runtime.get_logger(file=root / 'oake.log')
    if world.is_main:
        dump_config(config, root / 'config.py')
    config = to_plain(config)
    dtype = resolve_precision(config.get('precision', 'auto'), world.device)
    clip = load_clip(config.get('clip', CLIP_PATH))
    encoder = ImageEncoder(clip.visual).to(world.device, dtype)
    del clip
    # Both first: a mistake in the second should not show after the hours of the first.
    splits = [
        _build_split(task, split, config[split]['dataloader'], encoder, world, root)
        for split in SPLITS
        if config.get(split)
    ]
    options = Options(
        batch_size=default_batch_size(encoder, task, world.device, config.get('mini_batch_size')),
        log_interval=config.get('log', {}).get('interval', 50),
        logger=logger,
    )
    logger.info('%s: %s in %s on %d × %s', name, task.kind, dtype, world.size, world.device.type)
    ranks = Ranks(world)
    reports = []
    for split in splits:
        reports.append(extract(split, encoder, ranks, options))
        if world.is_main:
            _log_report(reports[-1], split, logger)
    return reports


def _build_split(
    task: type[Task],
    name: str,
    loader: dict[str, Any],
    encoder: ImageEncoder,
    world: runtime.World,
    root: pathlib.Path,
) -> Split:
    dataset = dict(loader['dataset'])
    _check_keys(f'.{name}.dataloader', loader, _LOADER_KEYS, ('dataset',))
    allowed = (*_DATASET_KEYS, *task.dataset_keys)
    required = [k for k in ('root', 'annFile', 'output_dir', 'proposal_file') if k in allowed]
    _check_keys(f'.{name}.dataloader.dataset', dataset, allowed, required)
    images = load_images(dataset['annFile'], dataset['root'], dataset.get('type', 'COCO'))
    is_dry_run = runtime.dry_run()
    output = pathlib.Path(dataset['output_dir'])
    own = {k: dataset[k] for k in task.dataset_keys if k in dataset}
    return Split(
        name=output.name,
        images=images[:DRY_RUN_IMAGES] if is_dry_run else images,
        task=task.build(encoder, world.device.type == 'cuda', images, is_dry_run, **own),
        store=open_store(
            root / output.relative_to(output.anchor) if is_dry_run else output, task.kind
        ),
        num_workers=loader.get('num_workers', 0),
        auto_fix=dataset.get('auto_fix', False),
        redo=is_dry_run,
    )


def _check_keys(
    where: str, found: Mapping[str, Any], allowed: tuple[str, ...], required: Any
) -> None:
    faults = [f'unknown key {k!r}' for k in found if k not in allowed]
    faults += [f'no {k!r}' for k in required if k not in found]
    if faults:
        raise ValueError(f'{where}: {"; ".join(faults)}; its keys are {sorted(allowed)}')


def default_batch_size(
    encoder: ImageEncoder, task: type[Task], device: torch.device, given: int | None = None
) -> Callable[[tuple[int, int]], int]:
    """The mini-batch for inputs of a height and width in pixels.

    Args:
        encoder, task, device: a batch has about as many tokens as suit the device.
        given: a fixed number instead.

    Raises:
        ValueError: the given one is not positive.
    """
    if given is not None and given < 1:
        raise ValueError(f'mini_batch_size is {given}, expected a positive number, or None')

    def batch_size(size_hw: tuple[int, int]) -> int:
        tokens = encoder.num_tokens(size_hw, task.is_masked)
        return given or max(1, _BATCH_TOKENS[device.type] // tokens)

    return batch_size


def _log_report(report: Report, split: Split, logger: logging.Logger) -> None:
    logger.info(
        '%s %s: %d images: %d extracted, %d skipped, %d failed; %d crops in %s '
        '(%.2f images/s, %.1f crops/s); in %s',
        split.task.kind, split.name, len(split.images), report.done, report.skipped,
        len(report.failed), report.crops, duration(report.seconds),
        report.done / max(report.seconds, 1e-9), report.crops / max(report.seconds, 1e-9),
        split.store.path,
    )  # fmt: skip
    if report.failed:
        logger.error('failed:\n  %s', '\n  '.join(report.failed))
