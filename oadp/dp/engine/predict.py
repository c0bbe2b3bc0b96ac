"""Apply a detector to the images of a dataset, on any number of processes."""

__all__ = ['gather_in_order', 'predict', 'unpack', 'visit_images']

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from mmcv.parallel import scatter_kwargs
from mmdet.core import encode_mask_results
from torch import nn
from torch.utils.data import DataLoader

from oadp.dp.data.loaders import Share
from oadp.utils.distributed import gather
from oadp.utils.progress import Progress
from oadp.utils.runtime import ProcessInfo

T = TypeVar('T')


def unpack(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch of an mmdet loader without its containers, on a device."""
    target = device.index or 0 if device.type == 'cuda' else -1  # mmcv's number of the CPU
    _, (batch,) = scatter_kwargs((), batch, [target])
    return batch


def visit_images(
    loader: DataLoader,
    call: Callable[[dict[str, Any]], T],
    visit: Callable[[int, T], None],
    world: ProcessInfo,
    name: str,
) -> None:
    """Process this process's share of a dataset, one image at a time, without gradients.

    Args:
        loader: of ``build_val_loader``.
        call: called with each batch, unpacked on ``world.device``.
        visit: called with the index of each image in the dataset and the result of ``call``.
        world: this process among the others.
        name: the name of the work, for the progress bar.
    """
    share = loader.dataset
    assert isinstance(share, Share)
    with (
        torch.no_grad(),
        Progress(len(share), name, 'images', enabled=world.is_main) as progress,
    ):
        for index, batch in zip(share.indices, loader, strict=True):
            visit(index, call(unpack(batch, world.device)))
            progress.update()


def gather_in_order(results: Mapping[int, T], world: ProcessInfo) -> list[T] | None:
    """Return the results of all processes in ascending order of their keys.

    Args:
        results: of this process, by the index of the image.
        world: this process among the others.

    Returns:
        The list on the first process; None on the others.
    """
    parts = gather(results, world)
    if parts is None:
        return None
    merged = {index: result for part in parts for index, result in part.items()}
    return [merged[index] for index in sorted(merged)]


def predict(
    detector: nn.Module,
    loader: DataLoader,
    world: ProcessInfo,
    visit: Callable[[int, Any], None] | None = None,
) -> list[Any] | None:
    """Detect on all images of a dataset, each process on its share.

    Args:
        detector: on ``world.device``. It is put in evaluation mode; its mode is restored at the end.
        loader: of ``build_val_loader``.
        world: this process among the others.
        visit: called with the index of each image and its result, by the process that detects on
            it.

    Returns:
        On the first process, mmdet's results in the order of the dataset, with run-length encoded
        masks; None on the others.
    """
    results: dict[int, Any] = {}

    def detect(batch: dict[str, Any]) -> Any:
        (result,) = detector(return_loss=False, rescale=True, **batch)
        if isinstance(result, tuple):
            boxes, masks = result
            result = boxes, encode_mask_results(masks)
        return result

    def keep(index: int, result: Any) -> None:
        if visit is not None:
            visit(index, result)
        results[index] = result

    was_training = detector.training
    detector.eval()
    try:
        visit_images(loader, detect, keep, world, 'detect')
    finally:
        detector.train(was_training)
    return gather_in_order(results, world)
