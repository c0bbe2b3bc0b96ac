"""Run a detector over a data set and write the fusion search's records."""

__all__ = ['dump_dataset']

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset

from oadp.categories import get_categories
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.predict import unpack
from oadp.dp.fusion.records import DumpMeta, DumpWriter, Record
from oadp.utils import runtime
from oadp.utils.config import to_plain
from oadp.utils.files import sha256
from oadp.utils.progress import Progress
from oadp.utils.runtime import World


def dump_dataset(
    detector: nn.Module,
    config: Mapping[str, Any],
    checkpoint: pathlib.Path,
    dataset: Any,
    root: pathlib.Path,
    world: World,
) -> pathlib.Path:
    """Write a record of each image that has none yet; any number of processes.

    Args:
        detector: with ``checkpoint``'s weights, on ``world.device``.
        config: whole.
        checkpoint: the file; its digest tells dumps of other weights apart.
        dataset: mmdet's, in test mode.
        root: what ``DUMP`` is. In ``DRY_RUN`` the records go to its folder ``dry_run``.
        world: this process among the others.

    Returns:
        The folder that was written to.

    Raises:
        ValueError: the folder holds a dump of something else, or the detector has no object head.
    """
    if getattr(detector.roi_head, '_object_head', None) is None:
        raise ValueError(
            f'{checkpoint}: this detector has no object head, so there is nothing to fuse; DUMP is '
            'for ViLD and OADP'
        )
    root = root / 'dry_run' if runtime.dry_run() else root
    logger = runtime.get_logger()
    writer = DumpWriter(root, _describe(config, checkpoint))
    runtime.barrier()  # until each process has seen what is there, none may add to it
    indices = {info['id']: index for index, info in enumerate(dataset.data_infos)}
    missing = writer.missing(indices)
    runtime.barrier()
    if len(missing) < len(indices):
        logger.info(
            '%s: %d of %d images are there', root, len(indices) - len(missing), len(indices)
        )
    share = missing[world.rank :: world.size]
    loader = build_val_loader(
        Subset(dataset, [indices[i] for i in missing]), config['validator']['dataloader'], world
    )
    with (
        torch.inference_mode(),
        _giving_predictions(detector),
        Progress(len(share), 'dump', 'images', enabled=world.is_main) as progress,
    ):
        for image_id, batch in zip(share, loader, strict=True):
            (prediction,) = detector(return_loss=False, rescale=True, **unpack(batch, world.device))
            writer.write(image_id, Record(*prediction))
            progress.update()
    runtime.barrier()
    logger.info('%s: the records of %d images', root, len(indices))
    return root


def _describe(config: Mapping[str, Any], checkpoint: pathlib.Path) -> DumpMeta:
    dataset = to_plain(config['validator']['dataloader']['dataset'])
    model = to_plain(config['model'])
    test_cfg = model['test_cfg']
    # Of the model, all that the logits depend on: a temperature and the prompts are not weights.
    inference = {k: v for k, v in model.items() if k not in ('train_cfg', 'test_cfg', 'distiller')}
    inference['roi_head'].pop('fusion', None)
    prompts = sorted(set(_prompt_files(inference)))
    return DumpMeta(
        categories=get_categories(config['categories']),
        nms=test_cfg['rcnn'],
        dataset={k: dataset[k] for k in ('type', 'ann_file')},
        source=dict(
            checkpoint_sha256=sha256(checkpoint),
            prompts_sha256={path: sha256(path) for path in prompts},
            rpn=test_cfg['rpn'],
            pipeline=dataset['pipeline'],
            model=inference,
        ),
    )


def _prompt_files(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('prompts'), str):
            yield node['prompts']
        for value in node.values():
            yield from _prompt_files(value)


@contextlib.contextmanager
def _giving_predictions(detector: nn.Module) -> Iterator[None]:
    """Within it, the detector gives ``RoIPrediction``s in place of detections.

    The seam is ``simple_test``, which the detector hands everything to, so that nothing before it
    (half precision, rescaling) is done differently from a test.
    """
    roi_head = detector.roi_head
    roi_head.simple_test = lambda x, proposals, img_metas, **options: roi_head.predict_logits(
        x, proposals, img_metas, rescale=options.get('rescale', False)
    )
    try:
        yield
    finally:
        del roi_head.simple_test
