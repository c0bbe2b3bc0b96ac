"""Show the progress of a long job: a bar on a terminal, log lines elsewhere."""

__all__ = ['Progress']

import sys
import time
from typing import Any

from tqdm import tqdm

from oadp.utils import runtime


class Progress:
    """Progress of a job, a context manager.

    Args:
        total: number of items.
        label: name of the job.
        unit: the items, in the plural.
        interval: seconds between log lines, without a terminal.
        enabled: False in processes other than the first one.

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
        enabled: bool = True,
    ) -> None:
        self._total = total
        self._label = label
        self._unit = unit
        self._interval = interval
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

    def update(self, n: int = 1, **figures: float) -> None:
        """Add ``n`` to the count; ``figures``, such as the loss, are shown next to it."""
        self._done += n
        if figures:
            self._figures = ''.join(f', {k} {v:.4g}' for k, v in figures.items())
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str(self._figures[2:], refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._logged >= self._interval:
            self._log()

    def _log(self) -> None:
        if self._logger is None:
            return
        self._logged = time.monotonic()
        rate = self._done / max(self._logged - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate else float('inf')
        self._logger.info(
            '%s: %d/%d %s, %.1f/s, %.0f s left%s',
            self._label,
            self._done,
            self._total,
            self._unit,
            rate,
            left,
            self._figures,
        )
