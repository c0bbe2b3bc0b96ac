"""Many feature records in one LMDB file, beside the folder of one file an image.

The 118,287 training images of COCO make as many files of 0.8 MB: slow to copy, to list and to back
up. LMDB keeps them in one file that is memory-mapped, that all workers read without a lock, and
that a killed writer cannot break. Records have the bytes of the ``.pth`` files, so that converting
is copying.
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

_MAP_SIZE = 1 << 40  # bytes of address space; the file is as large as what it holds
_MAX_READERS = 1024  # processes on one machine that may read at the same time

_Environments = dict[str, tuple[int, bool, lmdb.Environment]]
# LMDB must not be opened twice in one process, whatever the number of stores: resolved path to
# (process that opened it, whether to write, environment).
_environments: _Environments = {}
_opening = threading.Lock()


def _environment(path: pathlib.Path, writable: bool) -> lmdb.Environment:
    """The process's one handle of a file, opened again after a fork or to begin writing."""
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
            # The lock file keeps a writer from reusing pages under a reader; where it cannot be
            # written, as on a read-only medium, there is no writer.
            lock=writable or os.access(path, os.W_OK),
        )
        environment.reader_check()
        _environments[key] = (os.getpid(), writable, environment)
        return environment


class PackedStore(Store):
    """Records in an LMDB file, by image id. The path is the folder that LMDB makes of it.

    Writers of several processes take turns; a write is on the disk when it returns. Not for network
    file systems, on which LMDB cannot lock.
    """

    def describe(self, image_id: int) -> str:
        return f'{self.path}[{image_id:012d}]'

    def __contains__(self, image_id: int) -> bool:
        if not self._exists():
            return False
        with _environment(self.path, writable=False).begin(buffers=True) as transaction:
            return transaction.get(_key(image_id)) is not None

    def ids(self) -> list[int]:
        if not self._exists():
            return []
        with _environment(self.path, writable=False).begin() as transaction:
            return [int(key) for key in transaction.cursor().iternext(values=False)]

    def read_bytes(self, image_id: int) -> bytes:
        data = None
        if self._exists():
            with _environment(self.path, writable=False).begin() as transaction:
                data = transaction.get(_key(image_id))
        if data is None:
            raise self.missing_error(image_id)
        return data

    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        with _environment(self.path, writable=True).begin(write=True) as transaction:
            transaction.put(_key(image_id), data)

    def clean(self) -> None:
        if self._exists():
            _environment(self.path, writable=True).reader_check()

    def _exists(self) -> bool:
        return (self.path / 'data.mdb').is_file()


def _key(image_id: int) -> bytes:
    return f'{image_id:012d}'.encode()


def convert(source: Store, target: Store, log_interval: float = 10.0) -> list[str]:
    """Copy the records that the target lacks, each checked first.

    Returns:
        What was wrong with the records that were not copied.
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
    """Look at every record of a store and, if given, compare it with the one of another store.

    Returns:
        What is wrong, one line a record.
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
    """Whether two records hold the same numbers, though other versions of torch wrote them."""
    if a == b:
        return True
    try:
        x, y = _tensors(load_record(a)), _tensors(load_record(b))
    except ValueError:
        return False
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def _tensors(record: Record) -> dict[str, torch.Tensor]:
    return record if isinstance(record, dict) else dict(record=record)
