"""Store feature records in one LMDB file, as an alternative to a folder with one file per image.

The 118,287 training images of COCO give as many files of 0.8 MB, which are slow to copy, list and back up.
An LMDB file is memory-mapped, all workers read it without a lock, and a killed writer cannot break it.
Records have the same bytes as the ``.pth`` files, so conversion is copying.
"""

__all__ = ['PackedStore', 'convert', 'verify']

import os
import pathlib
import threading

import lmdb
import torch

from oadp.data.features.lmdb_file import check_length
from oadp.data.features.stores import Record, Store, check, load_record
from oadp.utils.progress import Progress

_MAP_SIZE = 1 << 40  # bytes of address space; the file is only as large as its content
_MAX_READERS = 1024  # processes on one machine that may read at the same time

_Environments = dict[str, tuple[int, bool, lmdb.Environment]]
# Resolved path to (id of the process that opened it, whether it is writable, environment). LMDB must not
# open a file twice in one process, whatever the number of stores.
_environments: _Environments = {}
_opening = threading.Lock()


def _environment(path: pathlib.Path, writable: bool) -> lmdb.Environment:
    """Return the only handle of a file in this process; it is opened again after a fork or for writing."""
    key = str(path.resolve())
    with _opening:
        if key in _environments:
            pid, was_writable, environment = _environments[key]
            if pid == os.getpid() and was_writable >= writable:
                return environment
            environment.close()
        if (path / 'data.mdb').exists():
            check_length(path / 'data.mdb')
        if writable:
            path.mkdir(parents=True, exist_ok=True)
        environment = lmdb.open(
            key,
            map_size=_MAP_SIZE,
            max_readers=_MAX_READERS,
            readonly=not writable,
            # The lock file prevents a writer from reusing the pages of a reader. If it is not writable, as
            # on a read-only medium, there is no writer.
            lock=writable or os.access(path, os.W_OK),
        )
        environment.reader_check()
        _environments[key] = (os.getpid(), writable, environment)
        return environment


class PackedStore(Store):
    """A store in an LMDB file, with image ids as keys. The path is the folder that LMDB creates.

    Only one process writes at a time; the others wait. A write is on the disk when it returns. Network
    file systems are not supported, since LMDB cannot lock files on them.
    """

    def describe(self, image_id: int) -> str:
        """See :meth:`Store.describe`."""
        return f'{self.path}[{image_id:012d}]'

    def __contains__(self, image_id: int) -> bool:
        if not self._exists():
            return False
        with _environment(self.path, writable=False).begin(buffers=True) as transaction:
            return transaction.get(_key(image_id)) is not None

    def ids(self) -> list[int]:
        """See :meth:`Store.ids`."""
        if not self._exists():
            return []
        with _environment(self.path, writable=False).begin() as transaction:
            return [int(key) for key in transaction.cursor().iternext(values=False)]

    def read_bytes(self, image_id: int) -> bytes:
        """See :meth:`Store.read_bytes`."""
        data = None
        if self._exists():
            with _environment(self.path, writable=False).begin() as transaction:
                data = transaction.get(_key(image_id))
        if data is None:
            raise self.missing_error(image_id)
        return data

    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        """See :meth:`Store.write_bytes`."""
        with _environment(self.path, writable=True).begin(write=True) as transaction:
            transaction.put(_key(image_id), data)

    def clean(self) -> None:
        """Free the reader slots of processes that no longer exist."""
        if self._exists():
            _environment(self.path, writable=True).reader_check()

    def _exists(self) -> bool:
        return (self.path / 'data.mdb').is_file()


def _key(image_id: int) -> bytes:
    return f'{image_id:012d}'.encode()


def convert(source: Store, target: Store, log_interval: float = 10.0) -> list[str]:
    """Check and copy the records that the target does not have.

    Returns:
        One message for each faulty record, which is not copied.
    """
    done = set(target.ids())
    todo = [i for i in source.ids() if i not in done]
    faults = []
    with Progress(
        len(todo), f'{source.path} → {target.path}', 'records', interval=log_interval
    ) as p:
        for image_id in todo:
            data = source.read_bytes(image_id)
            fault = _fault(source, image_id, data)
            if fault:
                faults.append(fault)
            else:
                target.write_bytes(image_id, data)
            p.update()
    return faults


def verify(source: Store, target: Store | None = None, log_interval: float = 10.0) -> list[str]:
    """Check every record of a store, and compare it with that of another store if given.

    Returns:
        One message for each faulty record.
    """
    ids = source.ids()
    other = set(target.ids()) if target else set()
    faults = [f'{source.describe(i)}: missing' for i in sorted(other.difference(ids))]
    with Progress(len(ids), f'check {source.path}', 'records', interval=log_interval) as p:
        for image_id in ids:
            data = source.read_bytes(image_id)
            fault = _fault(source, image_id, data)
            if fault:
                faults.append(fault)
            elif target and image_id not in other:
                faults.append(f'{target.describe(image_id)}: missing')
            elif target and not _is_same(data, target.read_bytes(image_id)):
                faults.append(f'{target.describe(image_id)}: not the same as {source.describe(image_id)}')  # fmt: skip
            p.update()
    return faults


def _fault(store: Store, image_id: int, data: bytes) -> str | None:
    try:
        check(store.kind, load_record(data))
    except ValueError as e:
        return f'{store.describe(image_id)}: {e}'
    return None


def _is_same(a: bytes, b: bytes) -> bool:
    """Return whether two records have equal tensors; different versions of torch may have written them."""
    if a == b:
        return True
    try:
        x, y = _tensors(load_record(a)), _tensors(load_record(b))
    except ValueError:
        return False
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def _tensors(record: Record) -> dict[str, torch.Tensor]:
    return record if isinstance(record, dict) else dict(record=record)
