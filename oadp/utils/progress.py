"""Report the progress of a long job: a bar on a terminal, log lines elsewhere."""

__all__ = ['Progress', 'format_duration']

import datetime
import sys
import time
from typing import Any

from tqdm import tqdm

from oadp.utils import runtime

_MAX_FOUR_DIGITS = 1e4  # larger figures are shown as whole numbers, not in scientific notation


class Progress:
    """Count the finished items of a job. Use it as a context manager.

    Args:
        total: number of items.
        label: name of the job.
        unit: name of the items, in the plural.
        interval: seconds between log lines.
        every: items after which a line is logged, in addition to ``interval``; None for no such
            lines.
        enabled: False for processes other than the main one.

    >>> with Progress(3, 'encode', 'texts') as progress:
    ...     progress.update(3, loss=0.5)
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str = 'steps',
        *,
        interval: float = 10.0,
        every: int | None = None,
        enabled: bool = True,
    ) -> None:
        self._total = total
        self._label = label
        self._unit = unit
        self._interval = interval
        self._every = every
        self._done = 0
        self._start = self._logged = time.monotonic()
        self._figures = ''
        on_terminal = enabled and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=f' {unit}') if on_terminal else None
        self._logger = runtime.get_logger() if enabled and not on_terminal else None

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._logged != self._start:
            self._log()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def update(self, n: int = 1, **figures: float) -> None:
        """Count ``n`` more items, and show figures such as the loss beside the count.

        Args:
            n: number of items; 0 to change the figures only.
            figures: name to value; they are shown until the next figures.
        """
        before, self._done = self._done, self._done + n
        if figures:
            self._figures = ''.join(f', {k} {_format(v)}' for k, v in figures.items())
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str(self._figures[2:], refresh=not n)
            self._bar.update(n)
        elif time.monotonic() - self._logged >= self._interval or (
            self._every is not None and before // self._every != self._done // self._every
        ):
            self._log()

    def _log(self) -> None:
        if self._logger is None:
            return
        self._logged = time.monotonic()
        rate = self._done / max(self._logged - self._start, 1e-9)
        left = format_duration((self._total - self._done) / rate) if rate else 'an unknown time'
        self._logger.info(
            '%s: %d/%d %s, %.2f %s/s, %s left%s',
            self._label,
            self._done,
            self._total,
            self._unit,
            rate,
            self._unit,
            left,
            self._figures,
        )


def _format(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f'{value:.0f}' if abs(value) >= _MAX_FOUR_DIGITS else f'{value:.4g}'


def format_duration(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds.

    >>> format_duration(3723.4)
    '1:02:03'
    """
    return str(datetime.timedelta(seconds=round(seconds)))
