"""Write records in a thread, while the encoder runs."""

__all__ = ['Writer']

import collections
import concurrent.futures

from oadp.data.features.stores import Record, Store

_MAX_WAITING = 8  # records, of at most a few MB each


class Writer:
    """Write records to a store. Use it as a context manager: all records are written at its end.

    Args:
        store: where to write.

    Raises:
        OSError: an earlier write failed, for example because the disk is full; raised by ``write`` or
            at the end.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._waiting: collections.deque[concurrent.futures.Future] = collections.deque()

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            while self._waiting:
                self._waiting.popleft().result()

    def write(self, image_id: int, record: Record) -> None:
        """Queue a record; wait if too many records are queued."""
        self._waiting.append(self._pool.submit(self._store.write, image_id, record))
        while len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft().result()
