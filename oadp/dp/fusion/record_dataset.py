"""Run a detector on a dataset and write the records for the score fusion search."""

__all__ = ['dump_dataset']

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.utils.data import Subset

from oadp.categories import get_categories
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.predict import visit_images
from oadp.dp.fusion.records import DumpMeta, DumpWriter, Record
from oadp.utils import runtime
from oadp.utils.config import to_plain
from oadp.utils.files import sha256
from oadp.utils.runtime import ProcessInfo


def dump_dataset(
    detector: nn.Module,
    config: Mapping[str, Any],
    checkpoint: pathlib.Path,
    dataset: Any,
    root: pathlib.Path,
    world: ProcessInfo,
) -> pathlib.Path:
    """Write a record of each image that has none yet, on any number of processes.

    Args:
        detector: the detector with the weights of ``checkpoint``, on ``world.device``.
        config: the whole config.
        checkpoint: the file of the weights, whose digest identifies them.
        dataset: a dataset of mmdet, in test mode.
        root: the folder that ``DUMP`` names. In ``DRY_RUN``, the records are written to its folder
            ``dry_run``.
        world: this process among the others.

    Returns:
        The folder of the records.

    Raises:
        ValueError: the folder has records of another run, or the detector has no object head.
    """
    if getattr(detector.roi_head, '_object_head', None) is None:
        raise ValueError(
            f'{checkpoint}: this detector has no object head whose scores could be fused; expected a '
            'ViLD or OADP detector with DUMP'
        )
    root = root / 'dry_run' if runtime.dry_run() else root
    logger = runtime.get_logger()
    writer = DumpWriter(root, _describe(config, checkpoint))
    runtime.barrier()  # no process may write before all have created their writers
    indices = {info['id']: index for index, info in enumerate(dataset.data_infos)}
    missing = writer.missing(indices)
    runtime.barrier()
    done = len(indices) - len(missing)
    if done:
        logger.info('%s: %d of %d images have records already', root, done, len(indices))
    subset = Subset(dataset, [indices[i] for i in missing])
    loader = build_val_loader(subset, config['validator']['dataloader'], world)
    with _giving_predictions(detector):
        visit_images(
            loader,
            lambda batch: detector(return_loss=False, rescale=True, **batch)[0],
            lambda index, prediction: writer.write(missing[index], Record(*prediction)),
            world,
            'dump',
        )
    runtime.barrier()
    logger.info('%s: %d images have records', root, len(indices))
    return root


def _describe(config: Mapping[str, Any], checkpoint: pathlib.Path) -> DumpMeta:
    plain = to_plain({key: config[key] for key in ('validator', 'model')})
    dataset, model = plain['validator']['dataloader']['dataset'], plain['model']
    test_cfg = model['test_cfg']
    # All settings that the logits depend on: temperatures and prompts are not in the weights.
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
    """Make the detector return ``RoIPrediction``s instead of detections within the context.

    ``simple_test`` is replaced, so that all earlier steps (half precision, rescaling) are the same as
    in a test.
    """
    roi_head = detector.roi_head
    roi_head.simple_test = lambda x, proposals, img_metas, **options: roi_head.predict_logits(
        x, proposals, img_metas, rescale=options.get('rescale', False)
    )
    try:
        yield
    finally:
        del roi_head.simple_test
