"""Run an extraction from its config. The command line is in ``arguments``."""

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
from oadp.oake.extraction import Options, Report, extract
from oadp.oake.image_list import load_images
from oadp.oake.split import Split
from oadp.oake.task import Task
from oadp.utils import runtime
from oadp.utils.config import dump_config, to_plain
from oadp.utils.progress import format_duration

SPLITS = ('val', 'train')
"""Order of the splits: the smaller one first, so that a mistake is found early."""

DRY_RUN_IMAGES = 4  # per split
_BATCH_TOKENS = dict(cpu=3200, cuda=512 * 198)
"""Tokens in a mini-batch. CPU: 16 parts of an image for ViT-B/32, whose activations fit the cache;
GPU: 512 parts (reference configuration)."""
_BATCH_TOKENS_CPU_FLOAT32 = 800
"""The same for float32 on a CPU: 4 parts. 16 parts take 1.2 times the processor's time, as their
activations, 39 MB in the MLP, do not fit the cache (32 MB; measured with one thread)."""

_DATASET_KEYS = ('root', 'annFile', 'output_dir', 'auto_fix', 'type')
_LOADER_KEYS = ('dataset', 'num_workers')


def run(
    task: type[Task], name: str, config: Mapping[str, Any], world: runtime.ProcessInfo
) -> list[Report]:
    """Extract one kind of features.

    Args:
        task: task of the kind.
        name: folder of the log under ``work_dirs``.
        config: a config such as those in ``configs/oake``; ``train`` or ``val`` may be absent or None.
        world: this process and the number of processes.

    Returns:
        One report per split.

    Raises:
        FileNotFoundError: a file that the config names does not exist.
        ValueError: unknown keys or wrong values in the config, or a faulty file.
    """
    root = runtime.work_dir(name)
    logger = runtime.get_logger(file=root / 'oake.log')
    if world.is_main:
        dump_config(config, root / 'config.py')
    config = to_plain(config)
    log_interval = _check_number('.log.interval', config.get('log', {}).get('interval', 50), 1)
    dtype = resolve_precision(config.get('precision', 'auto'), world.device)
    clip = load_clip(config.get('clip', CLIP_PATH))
    encoder = ImageEncoder(clip.visual).to(world.device, dtype)
    del clip
    # Both splits first: a mistake in the second one must not appear after hours of extraction.
    splits = [
        _build_split(task, split, config[split]['dataloader'], encoder, world, root)
        for split in SPLITS
        if config.get(split)
    ]
    options = Options(
        batch_size=default_batch_size(encoder, task, world.device, config.get('mini_batch_size')),
        log_interval=log_interval,
        logger=logger,
    )
    logger.info(
        '%s: extract %s in %s on %d × %s', name, task.kind, dtype, world.size, world.device.type
    )
    reports = []
    for split in splits:
        reports.append(extract(split, encoder, world, options))
        if world.is_main:
            _log_report(reports[-1], split, logger)
    return reports


def _build_split(
    task: type[Task],
    name: str,
    loader: dict[str, Any],
    encoder: ImageEncoder,
    world: runtime.ProcessInfo,
    root: pathlib.Path,
) -> Split:
    dataset = dict(loader['dataset'])
    _check_keys(f'.{name}.dataloader', loader, _LOADER_KEYS, ('dataset',))
    allowed = (*_DATASET_KEYS, *task.dataset_keys)
    num_workers = _check_number(f'.{name}.dataloader.num_workers', loader.get('num_workers', 0), 0)
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
        num_workers=num_workers,
        auto_fix=dataset.get('auto_fix', False),
        redo=is_dry_run,
    )


def _check_keys(
    where: str, found: Mapping[str, Any], allowed: tuple[str, ...], required: Any
) -> None:
    faults = [f'unknown key {k!r}' for k in found if k not in allowed]
    faults += [f'no {k!r}' for k in required if k not in found]
    if faults:
        raise ValueError(f'{where}: {"; ".join(faults)}; expected keys of {sorted(allowed)}')


def _check_number(key: str, value: Any, minimum: int) -> int:
    if type(value) is not int or value < minimum:
        raise ValueError(f'{key} is {value!r}, expected an integer of at least {minimum}')
    return value


def default_batch_size(
    encoder: ImageEncoder, task: type[Task], device: torch.device, given: int | None = None
) -> Callable[[tuple[int, int]], int]:
    """Return a function from the height and width of inputs in pixels to the size of a mini-batch.

    Args:
        encoder: gives the number of tokens of an input.
        task: task of the kind of features.
        device: a mini-batch has at most the number of tokens that suits this device.
        given: a fixed size of mini-batches; None for the size that suits the device.

    Raises:
        ValueError: ``given`` is not positive.
    """
    if given is not None:
        _check_number('mini_batch_size', given, 1)

    most = _BATCH_TOKENS[device.type]
    if device.type == 'cpu' and encoder.patches.weight.dtype == torch.float32:
        most = _BATCH_TOKENS_CPU_FLOAT32

    def batch_size(size_hw: tuple[int, int]) -> int:
        return given or max(1, most // encoder.num_tokens(size_hw, task.is_masked))

    return batch_size


def _log_report(report: Report, split: Split, logger: logging.Logger) -> None:
    logger.info(
        '%s %s: %d images: %d extracted, %d skipped, %d failed; %d crops in %s '
        '(%.2f images/s, %.1f crops/s); in %s',
        split.task.kind, split.name, len(split.images), report.done, report.skipped,
        len(report.failed), report.crops, format_duration(report.seconds),
        report.done / max(report.seconds, 1e-9), report.crops / max(report.seconds, 1e-9),
        split.store.path,
    )  # fmt: skip
    if report.failed:
        logger.error('failed:\n  %s', '\n  '.join(report.failed))
