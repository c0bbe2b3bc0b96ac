"""A detector over a dataset, on any number of processes."""

__all__ = ['predict', 'unpack']

from collections.abc import Callable
from typing import Any

import torch
from mmcv.parallel import scatter_kwargs
from mmdet.core import encode_mask_results
from torch import nn
from torch.utils.data import DataLoader

from oadp.utils.distributed import gather
from oadp.utils.progress import Progress
from oadp.utils.runtime import World


def unpack(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What an mmdet loader yields, without its containers, on a device."""
    target = device.index or 0 if device.type == 'cuda' else -1  # mmcv's number of the CPU
    _, (batch,) = scatter_kwargs((), batch, [target])
    return batch


def predict(
    detector: nn.Module,
    loader: DataLoader,
    world: World,
    visit: Callable[[int, Any], None] | None = None,
) -> list[Any] | None:
    """Detect on all images of a dataset, each process on its share.

    Args:
        detector: on ``world.device``; its mode is restored at the end.
        loader: of ``build_val_loader``.
        world: this process among the others.
        visit: called with an image's index and its result (by the process that has it).

    Returns:
        On the first process, mmdet's results in the dataset's order, masks run-length encoded;
        None on the others.
    """
    share = loader.dataset
    was_training = detector.training
    detector.eval()
    results = {}
    try:
        with (
            torch.no_grad(),
            Progress(len(share), 'detect', 'images', enabled=world.is_main) as progress,
        ):
            for index, batch in zip(share.indices, loader, strict=True):
                (result,) = detector(return_loss=False, rescale=True, **unpack(batch, world.device))
                if isinstance(result, tuple):
                    boxes, masks = result
                    result = boxes, encode_mask_results(masks)
                if visit is not None:
                    visit(index, result)
                results[index] = result
                progress.update()
    finally:
        detector.train(was_training)
    gathered = gather(results, world)
    if gathered is None:
        return None
    merged = {index: result for part in gathered for index, result in part.items()}
    return [merged[index] for index in range(len(share.dataset))]
