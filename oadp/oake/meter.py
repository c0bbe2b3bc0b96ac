"""How far an extraction is: a bar on a terminal, log lines elsewhere."""

__all__ = ['Meter']

import datetime
import logging
import sys
import time

from tqdm import tqdm

_MAX_SILENCE = 60  # seconds without a log line


class Meter:
    """Counts images and what is encoded of them. Use it as a context manager.

    Args:
        label: what is extracted, such as ``objects train2017``.
        total: images of this process.
        skipped: images, of all processes, that are there already.
        interval: images between log lines.
        logger: where lines go.
        enabled: False for processes other than the first.
    """

    def __init__(
        self,
        label: str,
        total: int,
        skipped: int,
        interval: int,
        logger: logging.Logger,
        enabled: bool = True,
    ) -> None:
        self.images = self.crops = 0
        self._label, self._total, self._skipped = label, total, skipped
        self._interval = max(1, interval)
        self._logger, self._enabled = logger, enabled
        self._begin = self._last = time.monotonic()
        self._bar = None
        if enabled and total and sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=label, unit='image')

    def __enter__(self) -> 'Meter':
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def count_crops(self, n: int) -> None:
        """``n`` more are encoded."""
        self.crops += n
        if self._bar is not None:
            rate = self.crops / max(self.seconds, 1e-9)
            self._bar.set_postfix_str(f'{rate:.1f} crops/s, {self._skipped} skipped')
        elif time.monotonic() - self._last > _MAX_SILENCE:
            self._log()

    def count_image(self) -> None:
        """One more is done, or has failed."""
        self.images += 1
        if self._bar is not None:
            self._bar.update()
        elif self.images % self._interval == 0:
            self._log()

    def _log(self) -> None:
        self._last = time.monotonic()
        seconds = max(self.seconds, 1e-9)
        rate = self.images / seconds
        left = (
            f'{duration((self._total - self.images) / rate)} left' if rate else 'time left unknown'
        )
        if self._enabled:
            self._logger.info(
                '%s: %d/%d images, %d skipped, %.2f images/s, %.1f crops/s, %s',
                self._label, self.images, self._total, self._skipped, rate,
                self.crops / seconds, left,
            )  # fmt: skip


def duration(seconds: float) -> str:
    """Hours, minutes, seconds: ``1:02:03``."""
    return str(datetime.timedelta(seconds=round(seconds)))
