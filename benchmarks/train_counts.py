"""What a training step costs, counted: arithmetic, operations, host waits, and seconds by part."""

import collections
import functools
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

TESTS = pathlib.Path(__file__).resolve().parents[1] / 'tests'

PARTS = {
    'backbone': ['backbone.forward'],
    'neck': ['neck.forward'],
    'rpn': ['rpn_head.forward_train'],
    'sampling': ['roi_head.bbox_assigner.assign', 'roi_head.bbox_sampler.sample'],
    'roi_align': ['roi_head.bbox_roi_extractor.forward'],
    'box_head': ['roi_head.bbox_head.forward'],
    'box_losses': ['roi_head.bbox_head.get_targets', 'roi_head.bbox_head.loss'],
    'object_head': ['roi_head._object_head.forward'],
    'block_head': ['roi_head._block_head.forward', 'roi_head._block_head.loss'],
    'global_head': ['_global_head.forward_train'],
    'distillation': ['_distill'],
}
"""Part of a step to the methods of a detector that compute it. Those that do not exist are left out."""

_BACKWARD = 'autograd::engine::evaluate_function'
_PREFIX = 'part: '


class _Operations(TorchDispatchMode):
    """Count the operations that compute something: on a GPU, most of them are a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def count_work(step: Callable[[], None]) -> dict[str, Any]:
    """Run a step, and return its GFLOP and its number of operations.

    Not by module: the counter assigns the backward of heads that return no tensors to other modules.
    """
    flops = FlopCounterMode(display=False)
    with _Operations() as operations, flops:
        step()
    return dict(gflop=round(flops.get_total_flops() / 1e9, 1), operations=operations.count)


def count_waits(detector: Any, batch: dict[str, Any], device: torch.device) -> int:
    """Return how often the host waits for the device from the forward to the logged losses.

    Without a GPU, the detector moves to the pretended one of the tests, and stays there: count last.
    """
    if device.type == 'cuda':
        return _count_real_waits(detector, batch)
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    from pretend_gpu import GPU, pretend_gpu

    with pretend_gpu() as waits:
        detector.to(GPU)
        there = to_device(batch, GPU)
        detector._parse_losses(detector(**there))  # what only the first step reads
        waits.clear()
        detector._parse_losses(detector(**there))
        return len(waits)


def _count_real_waits(detector: Any, batch: dict[str, Any]) -> int:
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            detector._parse_losses(detector(**batch))
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing' in str(w.message) for w in caught)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return tree_map(
        lambda x: x.to(device, non_blocking=True) if isinstance(x, torch.Tensor) else x, batch
    )


def seconds_by_part(step: Callable[[], None], detector: nn.Module) -> dict[str, list[float]]:
    """Run a step, and return the seconds of each part: forward and backward.

    A node of the backward belongs to the part that was computed when it was recorded.
    """
    on_gpu = next(detector.parameters()).is_cuda
    activities = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    watched = _watch(detector)
    try:
        with torch.profiler.profile(activities=activities) as profile:
            step()
    finally:
        for owner, method in watched:
            delattr(owner, method)
    key = 'device_time_total' if on_gpu else 'cpu_time_total'
    return _attribute(list(profile.events()), key)


def count_and_profile(step: Callable[[], None], detector: nn.Module) -> dict[str, Any]:
    """Count the work of a step and time its parts in one run.

    Counting costs the host a tenth of a second, which is little in a step of a minute.
    """
    parts: dict[str, Any] = {}

    def profile() -> None:
        parts['seconds_by_part'] = seconds_by_part(step, detector)

    return {**count_work(profile), **parts}


def _watch(detector: nn.Module) -> list[tuple[Any, str]]:
    """Record the parts in the profile; return the attributes that do so."""
    watched = []
    for part, paths in PARTS.items():
        for path in paths:
            *owners, method = path.split('.')
            owner = functools.reduce(lambda o, name: getattr(o, name, None), owners, detector)
            if getattr(owner, method, None) is not None:
                setattr(owner, method, _recorded(getattr(owner, method), part))
                watched.append((owner, method))
    return watched


def _recorded(inner: Callable[..., Any], part: str) -> Callable[..., Any]:
    @functools.wraps(inner)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function(_PREFIX + part):
            return inner(*args, **kwargs)

    return run


def _attribute(events: list[Any], key: str) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    part_of_node: dict[int, str] = {}
    for event in sorted(events, key=lambda e: e.time_range.start):
        part = _part(event)
        if event.name.startswith(_PREFIX):
            seconds[part][0] += getattr(event, key) / 1e6
        elif event.sequence_nr >= 0 and part:
            # Operations without a gradient have the number of the next node: the last one is its own.
            part_of_node[event.sequence_nr] = part
    for event in events:
        if event.name.startswith(_BACKWARD):
            part = part_of_node.get(event.sequence_nr, 'other')
            seconds[part][1] += getattr(event, key) / 1e6
    return {part: [round(s, 4) for s in both] for part, both in seconds.items()}


def _part(event: Any) -> str:
    """Return the innermost part that an event is in; an empty string if it is in none."""
    while event is not None:
        if event.name.startswith(_PREFIX):
            return event.name.removeprefix(_PREFIX)
        event = event.cpu_parent
    return ''
