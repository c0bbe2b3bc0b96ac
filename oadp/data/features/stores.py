"""Read, check and write the records of CLIP features.

Extraction (``oadp.oake``) writes records and training (``oadp.dp``) reads them. A *store* has one record per
image. It is a folder of files ``{image id:012d}.pth`` (the layout of the released features), or, if its path
ends in ``.lmdb``, one packed file (:mod:`oadp.data.features.packed`) with the same bytes.

=========  ==========================================================================
kind       record, all fp16; d is the size of an embedding (512 for CLIP ViT-B/32)
=========  ==========================================================================
globals    tensor (d,), of unit length
blocks     dict: ``embeddings`` (n, d), ``bboxes`` (n, 4) xyxy pixels of the image
objects    dict: ``embeddings`` and ``bboxes`` of the proposals, ``objectness`` (n, 1)
=========  ==========================================================================
"""

__all__ = ['KINDS', 'FolderStore', 'Kind', 'Record', 'Store', 'check', 'open_store']

import abc
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from oadp import compat
from oadp.utils.files import atomic_write, remove_leftovers

Kind = Literal['globals', 'blocks', 'objects']
Record = Tensor | dict[str, Tensor]

KINDS: tuple[Kind, ...] = get_args(Kind)

_COLUMNS: dict[str, dict[str, int | None]] = {
    'blocks': dict(embeddings=None, bboxes=4),
    'objects': dict(embeddings=None, bboxes=4, objectness=1),
}
"""Number of columns of each tensor of a record; None for the size of an embedding."""

PACKED_SUFFIX = '.lmdb'


def check(
    kind: Kind,
    record: Record,
    count: int | None = None,
    dim: int | None = None,
) -> None:
    """Check the keys, dtypes, shapes and numbers of a record.

    Args:
        kind: one of ``KINDS``.
        record: record to check.
        count: expected number of boxes; None for any.
        dim: expected size of an embedding; None for any.

    Raises:
        ValueError: a wrong key, dtype, shape or number of boxes, or a number that is not finite; all
            faults are listed.
    """
    if kind not in KINDS:
        raise ValueError(f'unknown kind of features {kind!r}; choose from {KINDS}')
    tensors: Any = {'record': record} if kind == 'globals' else record
    expected = {'record': ()} if kind == 'globals' else _COLUMNS[kind]
    if not isinstance(tensors, dict) or set(tensors) != set(expected):
        found = sorted(map(str, tensors)) if isinstance(tensors, dict) else type(tensors).__name__
        raise ValueError(f'{kind}: expected a dict of {sorted(expected)}, found {found}')
    not_tensors = [k for k, v in tensors.items() if not isinstance(v, Tensor)]
    if not_tensors:
        raise ValueError(f'{kind}: expected tensors, found something else as {not_tensors}')
    faults = [
        *_wrong_shapes(kind, tensors, count, dim),
        *(f'{k} is {v.dtype}, expected float16' for k, v in tensors.items() if v.dtype != torch.float16),
        *(f'{k} has numbers that are not finite' for k, v in tensors.items() if not v.isfinite().all()),
    ]  # fmt: skip
    if faults:
        raise ValueError(f'{kind}: ' + '; '.join(faults))


def _wrong_shapes(
    kind: Kind, tensors: dict[str, Tensor], count: int | None, dim: int | None
) -> Iterator[str]:
    d = 'd' if dim is None else dim
    if kind == 'globals':
        shape = tuple(tensors['record'].shape)
        if len(shape) != 1 or dim not in (None, *shape):
            yield f'shape {shape}, expected ({d},)'
        return
    n = len(tensors['embeddings']) if tensors['embeddings'].dim() else 0
    for key, columns in _COLUMNS[kind].items():
        shape = tuple(tensors[key].shape)
        expected = (n if count is None else count, columns or dim)
        if len(shape) != 2 or shape[0] != expected[0] or expected[1] not in (None, shape[1]):
            yield f'{key} is {shape}, expected ({expected[0]}, {columns or d})'


class Store(abc.ABC):
    """The records of one kind and one split, by image id. Several processes may use the same store.

    Args:
        path: the folder or packed file; created by the first ``write``.
        kind: one of ``KINDS``.

    Raises:
        ValueError: unknown kind.
    """

    def __init__(self, path: str | os.PathLike, kind: Kind) -> None:
        if kind not in KINDS:
            raise ValueError(f'unknown kind of features {kind!r}; choose from {KINDS}')
        self.path = pathlib.Path(path)
        self.kind = kind

    def read(self, image_id: int) -> Record:
        """Read and check the record of an image.

        Raises:
            FileNotFoundError: no such record; the message has its path and the command that makes it.
            ValueError: the record is broken or of another kind.
        """
        try:
            record = self._load(image_id)
            check(self.kind, record)
        except ValueError as e:
            raise ValueError(
                f'{self.describe(image_id)}: {e}; delete it, or extract again with '
                '.{train,val}.dataloader.dataset.auto_fix:True'
            ) from e
        return record

    def write(self, image_id: int, record: Record) -> None:
        """Write the record of an image, replacing an earlier one. Atomic.

        Raises:
            ValueError: the record is of another kind or has wrong values.
        """
        try:
            check(self.kind, record)
        except ValueError as e:
            raise ValueError(f'{self.describe(image_id)}: not written: {e}') from e
        buffer = io.BytesIO()
        torch.save(_compact(record), buffer)
        self.write_bytes(image_id, buffer.getbuffer())

    def missing_error(self, image_id: int) -> FileNotFoundError:
        """Return the error that ``read`` raises if there is no record."""
        return FileNotFoundError(
            f'{self.describe(image_id)}: no {self.kind} features of image {image_id}; '
            f'`python -m oadp.oake.{self.kind}` extracts them (README, "OAKE")'
        )

    @abc.abstractmethod
    def describe(self, image_id: int) -> str:
        """Return the place of the record of an image, for messages."""

    @abc.abstractmethod
    def __contains__(self, image_id: int) -> bool: ...

    @abc.abstractmethod
    def ids(self) -> list[int]:
        """Return the ids of the images that have a record, ascending, without opening the records."""

    @abc.abstractmethod
    def read_bytes(self, image_id: int) -> bytes:
        """Read the bytes of a record, in the format of ``torch.save``.

        Raises:
            FileNotFoundError: no such record.
        """

    @abc.abstractmethod
    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        """Write the bytes of a record, in the format of ``torch.save``. Atomic."""

    @abc.abstractmethod
    def clean(self) -> None:
        """Remove temporary files of killed processes, but not those of running ones."""

    def _load(self, image_id: int) -> Record:
        return load_record(self.read_bytes(image_id))


def load_record(data: bytes) -> Record:
    """Load a record from the bytes of ``torch.save``; only tensors are accepted.

    The embedding of an image with the shape (1, d), as in some files of the authors, is returned as (d,).

    Raises:
        ValueError: the bytes are truncated or contain other objects.
    """
    try:
        record = compat.load_tensors(io.BytesIO(data))
    except Exception as e:  # torch's unpickler raises errors of many kinds for damaged data
        raise ValueError(f'not a readable record, of {len(data)} bytes') from e
    if isinstance(record, Tensor) and record.dim() == 2 and len(record) == 1:
        record = record[0]
    return record


def _compact(record: Record) -> Record:
    """Copy a record to the CPU, so that views do not keep their larger storages."""
    if isinstance(record, Tensor):
        return _compact_tensor(record)
    return {key: _compact_tensor(value) for key, value in record.items()}


def _compact_tensor(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


class FolderStore(Store):
    """A store with one file per image: ``{image id:012d}.pth``."""

    def file(self, image_id: int) -> pathlib.Path:
        """Return the path of the record of an image."""
        return self.path / f'{image_id:012d}.pth'

    def describe(self, image_id: int) -> str:
        """See :meth:`Store.describe`."""
        return str(self.file(image_id))

    def __contains__(self, image_id: int) -> bool:
        return self.file(image_id).is_file()

    def ids(self) -> list[int]:
        """See :meth:`Store.ids`."""
        if not self.path.is_dir():
            return []
        with os.scandir(self.path) as entries:
            stems = [e.name[:-4] for e in entries if e.name.endswith('.pth')]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def read_bytes(self, image_id: int) -> bytes:
        """See :meth:`Store.read_bytes`."""
        try:
            return self.file(image_id).read_bytes()
        except FileNotFoundError:
            raise self.missing_error(image_id) from None

    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        """See :meth:`Store.write_bytes`."""
        with atomic_write(self.file(image_id)) as temporary:
            temporary.write_bytes(data)

    def clean(self) -> None:
        """See :meth:`Store.clean`."""
        remove_leftovers(self.path)


def open_store(path: str | os.PathLike, kind: Kind) -> Store:
    """Return the store at a path: packed if it ends in ``.lmdb``, otherwise a folder.

    Nothing is opened or created before the first read or write, so a store can be passed to worker
    processes.

    Args:
        path: such as ``data/coco/oake/objects/train2017`` or ``….lmdb``.
        kind: one of ``KINDS``.

    Raises:
        ValueError: unknown kind.
    """
    if pathlib.Path(path).suffix == PACKED_SUFFIX:
        from oadp.data.features.packed import PackedStore

        return PackedStore(path, kind)
    return FolderStore(path, kind)
