"""Adapt todd's schedules of loss weights to a GPU."""

__all__ = ['adapt_schedules']

from typing import Any


def adapt_schedules() -> None:
    """Keep the step of a schedule on the host, beside the buffer that checkpoints contain.

    todd reads the buffer for each loss of each training step. On a GPU, the host would then wait until
    the whole forward pass is computed, once per loss. The buffer is read again after anything else than
    ``step()`` has changed it: a move to a device, a checkpoint, another value.
    """
    from todd.losses.schedulers import BaseScheduler

    BaseScheduler.steps = property(_get_steps, BaseScheduler.steps.fset)
    BaseScheduler.step = _advance


def _get_steps(scheduler: Any) -> int:
    if not _is_known(scheduler):
        _remember(scheduler, scheduler._steps.item())
    return scheduler.__dict__['_on_host'][2]


def _advance(scheduler: Any) -> None:
    known = scheduler.__dict__['_on_host'][2] if _is_known(scheduler) else None
    scheduler._steps += 1
    if known is not None:
        _remember(scheduler, known + 1)


def _is_known(scheduler: Any) -> bool:
    """Return whether the buffer has not changed since its value was remembered."""
    buffer, version, _ = scheduler.__dict__.get('_on_host', (None, None, None))
    return buffer is scheduler._steps and version == buffer._version


def _remember(scheduler: Any, value: int) -> None:
    # torch counts the changes of a tensor in its version.
    scheduler.__dict__['_on_host'] = (scheduler._steps, scheduler._steps._version, value)
