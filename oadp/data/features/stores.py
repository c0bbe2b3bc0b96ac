"""The files of CLIP features: schema, check, atomic write, read.

They are the contract between extraction (``oadp.oake``), which writes them, and training
(``oadp.dp``), which reads them. One record an image, kept in a *store*: a folder of files
``{image id:012d}.pth`` (the layout of the released features), or, where the path ends in ``.lmdb``,
one packed file (:mod:`oadp.data.features.packed`) with the same bytes.

=========  ==========================================================================
kind       record, all fp16, d the embedding's size (512 for CLIP ViT-B/32)
=========  ==========================================================================
globals    tensor (d,), of unit length
blocks     dict: ``embeddings`` (n, d), ``bboxes`` (n, 4) xyxy pixels of the image
objects    the same two, ``bboxes`` being the proposals, and ``objectness`` (n, 1)
=========  ==========================================================================
"""

__all__ = ['KINDS', 'FolderStore', 'Kind', 'Record', 'Store', 'check', 'open_store']

import abc
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Literal, get_args

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
"""Number of columns of each tensor of a record; None: the embedding's size."""

PACKED_SUFFIX = '.lmdb'


def check(
    kind: Kind,
    record: Record,
    count: int | None = None,
    dim: int | None = None,
) -> None:
    """Refuse a record that is not what its kind should be.

    Args:
        kind: one of ``KINDS``.
        record: what was read or is to be written.
        count: number of boxes that the image has, where it is known.
        dim: the embedding's size, where it is known.

    Raises:
        ValueError: keys, dtype, shape, number of boxes or numbers are wrong; all faults are listed.
    """
    if kind not in KINDS:
        raise ValueError(f'unknown kind of features {kind!r}; choose from {KINDS}')
    tensors = {'record': record} if kind == 'globals' else record
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
    """Records of one kind and one split, by image id. Any number of processes may share it.

    Attributes:
        path: the folder or packed file; made by the first ``write``.
        kind: one of ``KINDS``.
    """

    def __init__(self, path: str | os.PathLike, kind: Kind) -> None:
        if kind not in KINDS:
            raise ValueError(f'unknown kind of features {kind!r}; choose from {KINDS}')
        self.path = pathlib.Path(path)
        self.kind = kind

    def read(self, image_id: int) -> Record:
        """The record of an image, its keys, shapes, dtypes and numbers checked.

        Raises:
            FileNotFoundError: there is none; names the place and the command that makes it.
            ValueError: it is broken or not of this kind.
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
        """Keep a record, in place of an earlier one. Atomic: all of it or nothing.

        Raises:
            ValueError: the record is not of this kind.
        """
        try:
            check(self.kind, record)
        except ValueError as e:
            raise ValueError(f'{self.describe(image_id)}: not written: {e}') from e
        buffer = io.BytesIO()
        torch.save(_compact(record), buffer)
        self.write_bytes(image_id, buffer.getbuffer())

    def missing_error(self, image_id: int) -> FileNotFoundError:
        """What ``read`` raises where there is no record."""
        return FileNotFoundError(
            f'{self.describe(image_id)}: no {self.kind} features of image {image_id}; '
            f'`python -m oadp.oake.{self.kind}` extracts them (README, "OAKE")'
        )

    @abc.abstractmethod
    def describe(self, image_id: int) -> str:
        """Where the record of an image is, for messages."""

    @abc.abstractmethod
    def __contains__(self, image_id: int) -> bool: ...

    @abc.abstractmethod
    def ids(self) -> list[int]:
        """Ids of the images that have a record, ascending. One pass, nothing is opened."""

    @abc.abstractmethod
    def read_bytes(self, image_id: int) -> bytes:
        """The record as ``torch.save`` wrote it.

        Raises:
            FileNotFoundError: there is none.
        """

    @abc.abstractmethod
    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        """Keep what ``torch.save`` wrote. Atomic."""

    @abc.abstractmethod
    def clean(self) -> None:
        """Remove what killed runs left behind; what running ones are writing stays."""

    def _load(self, image_id: int) -> Record:
        return load_record(self.read_bytes(image_id))


def load_record(data: bytes) -> Record:
    """What ``torch.save`` wrote, with nothing but tensors admitted.

    A feature of an image that is stored as (1, d), as some files of the authors' form have it, is
    read as (d,).

    Raises:
        ValueError: it is cut off or holds something else.
    """
    try:
        record = compat.load_tensors(io.BytesIO(data))
    except Exception as e:  # garbage makes torch's unpickler stumble in many ways
        raise ValueError(f'not a readable record, of {len(data)} bytes') from e
    if isinstance(record, Tensor) and record.dim() == 2 and len(record) == 1:
        record = record[0]
    return record


def _compact(record: Record) -> Record:
    """On the CPU, and without the larger storage that a view would drag along."""
    if isinstance(record, Tensor):
        return record.detach().cpu().clone(memory_format=torch.contiguous_format)
    return {key: _compact(value) for key, value in record.items()}


class FolderStore(Store):
    """One file an image: ``{image id:012d}.pth``."""

    def file(self, image_id: int) -> pathlib.Path:
        return self.path / f'{image_id:012d}.pth'

    def describe(self, image_id: int) -> str:
        return str(self.file(image_id))

    def __contains__(self, image_id: int) -> bool:
        return self.file(image_id).is_file()

    def ids(self) -> list[int]:
        if not self.path.is_dir():
            return []
        with os.scandir(self.path) as entries:
            stems = [e.name[:-4] for e in entries if e.name.endswith('.pth')]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def read_bytes(self, image_id: int) -> bytes:
        try:
            return self.file(image_id).read_bytes()
        except FileNotFoundError:
            raise self.missing_error(image_id) from None

    def write_bytes(self, image_id: int, data: bytes | memoryview) -> None:
        with atomic_write(self.file(image_id)) as temporary:
            temporary.write_bytes(data)

    def clean(self) -> None:
        remove_leftovers(self.path)


def open_store(path: str | os.PathLike, kind: Kind) -> Store:
    """The store at a path: packed where it ends in ``.lmdb``, else a folder.

    Nothing is opened or made before the first read or write, so a store can be handed to worker
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
