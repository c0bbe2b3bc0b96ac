"""RoI features of several sets of boxes in one pass of a RoI extractor.

mmdet's extractor divides the boxes among the feature levels, for which the host waits for a GPU once per
level, and starts several kernels per level. So a pass for all boxes costs less than one for each set.
"""

__all__ = ['pooled_along']

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def pooled_along(extractor: nn.Module, rois: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Compute the RoI features of further boxes in the next pass of a RoI extractor.

    The caller of the extractor, which is a RoI head of mmdet, gets the features of its own boxes only.

    Args:
        extractor: a RoI extractor of mmdet, which is called with feature levels and (n, 5) RoIs.
        rois: sets of (m, 5) RoIs: index into the batch, then xyxy.

    Yields:
        A list. The first pass within the block adds each set's (m, c, h, w) features to it; without a
        pass, it stays empty.
    """
    features: list[Tensor] = []
    if not rois:
        yield features
        return
    counts = [len(r) for r in rois]

    def append(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        before.remove()
        levels, own, *others = args
        return (levels, torch.cat([own, *rois]), *others)

    def take_off(_: nn.Module, args: tuple[Any, ...], pooled: Tensor) -> Tensor:
        after.remove()
        # One split, whose gradient is one concatenation.
        own, *sets = pooled.split([len(pooled) - sum(counts), *counts])
        features.extend(sets)
        return own

    before = extractor.register_forward_pre_hook(append)
    after = extractor.register_forward_hook(take_off)
    try:
        yield features
    finally:
        before.remove()
        after.remove()
