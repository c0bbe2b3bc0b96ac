"""The records from which the fusion search evaluates a setting without running the detector.

With ``DUMP=DIR``, ``oadp.dp.test`` writes for each image the outputs of the RoI heads before their
scores are fused. The folder contains

- ``meta.json``: the metadata of all records and their source (:class:`DumpMeta`);
- ``{id:012d}.npy``: the record of one image, a NumPy array with one element per RoI
  (:func:`record_type`).

A NumPy array can be memory-mapped, needs no pickle and no further package, and describes its fields.
The logits of the two heads take most of the space, so they are stored in fp16, as the difference from
the largest logit of the RoI: a temperature of 0.01 gives logits of up to 100, where fp16 has steps of
1/16, while the difference is almost exact near the largest logit, which has most of the probability.
"""

__all__ = ['Dump', 'DumpMeta', 'DumpWriter', 'Record', 'record_type']

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oadp.categories import Categories
from oadp.utils.files import atomic_write
from oadp.utils.json_text import read_json

VERSION = 1
"""The version of the folder's format; other versions are an error."""

_META = 'meta.json'
_README = 'README, section "Score fusion search"'


class Record(NamedTuple):
    """The outputs of the RoI heads for one image, with n RoIs and C categories.

    Attributes:
        boxes: (n, 4) float32 xyxy in pixels of the original image, class-agnostic.
        bbox_logits: (n, C + 1) of the box head, background last.
        object_logits: (n, C + 1) of the object head; the logit of the background is −∞.
        objectness: (n,) of the proposals, in [0, 1].
    """

    boxes: Tensor
    bbox_logits: Tensor
    object_logits: Tensor
    objectness: Tensor


@dataclasses.dataclass(frozen=True)
class DumpMeta:
    """The metadata of the records in a folder.

    Attributes:
        categories: the columns of the logits, base categories first.
        nms: ``test_cfg.rcnn``: ``score_thr``, ``nms`` (mmdet's dict), ``max_per_img``.
        dataset: ``type`` and ``ann_file`` of the dataset.
        source: everything else that the records depend on (digests of checkpoint and prompts,
            model, pipeline, …). A dump can be resumed only if it is the same.
    """

    categories: Categories
    nms: dict[str, Any]
    dataset: dict[str, Any]
    source: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_base(self) -> Tensor:
        """(C,) bool, whether a category is a base category."""
        return torch.arange(self.categories.num_all) < self.categories.num_bases

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``meta.json``."""
        data = dataclasses.asdict(self)
        return json.loads(json.dumps({'version': VERSION, **data}, default=str))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> 'DumpMeta':
        """Return the metadata from the content of ``meta.json``.

        Raises:
            ValueError: the version is another one, or keys are missing.
        """
        if not isinstance(data, dict) or data.get('version') != VERSION:
            found = data.get('version') if isinstance(data, dict) else type(data).__name__
            raise ValueError(f'expected format version {VERSION}, found {found}: dump again')
        missing = {'categories', 'nms', 'dataset', 'source'} - set(data)
        if missing:
            raise ValueError(f'keys {sorted(missing)} are missing: dump again')
        names = data['categories']
        lists = [names.get(k) for k in ('bases', 'novels')] if isinstance(names, dict) else [None]
        if not all(isinstance(x, list) and all(isinstance(n, str) for n in x) for x in lists):
            raise ValueError('categories: expected the lists of names bases and novels: dump again')
        categories = Categories(bases=tuple(names['bases']), novels=tuple(names['novels']))
        return cls(categories, data['nms'], data['dataset'], data['source'])


def record_type(num_categories: int) -> np.dtype:
    """Return the type of one RoI in a record file, packed and little-endian.

    Fields: ``box`` (4,) float32 xyxy in pixels of the original image; ``objectness`` float32;
    ``peaks`` (2,) float32, the largest box and object logit; ``bbox_logits`` and ``object_logits``
    (C + 1,) fp16, minus the peak.

    >>> record_type(65).itemsize  # bytes per RoI
    292
    """
    logits = ('<f2', (num_categories + 1,))
    return np.dtype(
        [
            ('box', '<f4', (4,)),
            ('objectness', '<f4'),
            ('peaks', '<f4', (2,)),
            ('bbox_logits', *logits),
            ('object_logits', *logits),
        ]
    )


class DumpWriter:
    """Write records. Several processes can share a folder, each with its own images.

    Args:
        root: the folder, which is created if it does not exist. Existing records are kept.
        meta: the metadata of all records.

    Raises:
        ValueError: the folder has records with other metadata; the message lists the keys that
            differ.
    """

    def __init__(self, root: str | os.PathLike, meta: DumpMeta) -> None:
        self._root = pathlib.Path(root)
        self._type = record_type(meta.categories.num_all)
        self._root.mkdir(parents=True, exist_ok=True)
        data = meta.to_json()
        path = self._root / _META
        if path.exists():
            found = _read_meta(self._root).to_json()
            differing = [k for k in data if data[k] != found[k]]
            if differing:
                details = '; '.join(
                    f'{k}: {found[k]!r:.200} != {data[k]!r:.200}' for k in differing
                )
                raise ValueError(
                    f'{self._root}: has records of another run ({details}); delete the folder, '
                    'or set DUMP to another one'
                )
        else:
            text = json.dumps(data, indent=1, ensure_ascii=False)
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding='utf-8')

    def missing(self, image_ids: Iterable[int]) -> list[int]:
        """Return the images without a record, in the given order."""
        present = _present(self._root)
        return [i for i in image_ids if i not in present]

    def write(self, image_id: int, record: Record) -> None:
        """Write the record of an image atomically.

        Raises:
            ValueError: shapes that do not match each other or the categories, or NaN.
        """
        n, columns = len(record.boxes), self._type['bbox_logits'].shape[0]
        expected = ((n, 4), (n, columns), (n, columns), (n,))
        found = tuple(tuple(t.shape) for t in record)
        if found != expected:
            raise ValueError(f'image {image_id}: expected shapes {expected}, found {found}')
        rows = np.empty(n, self._type)
        rows['box'] = _array(record.boxes)
        rows['objectness'] = _array(record.objectness)
        for i, name in enumerate(('bbox_logits', 'object_logits')):
            logits = _array(getattr(record, name))
            peaks = logits.max(1)
            rows['peaks'][:, i] = peaks
            rows[name] = _to_half(logits - peaks[:, None])
        if not all(np.isfinite(rows[k]).all() for k in ('box', 'objectness', 'peaks')):
            raise ValueError(f'image {image_id}: the outputs of the detector are not finite')
        with (
            atomic_write(_record_path(self._root, image_id)) as temporary,
            temporary.open('wb') as f,
        ):
            np.save(f, rows)


class Dump:
    """Read a folder of records.

    Args:
        root: the folder that ``DUMP`` was set to.

    Raises:
        FileNotFoundError: no such folder, or it has no ``meta.json``.
        ValueError: unknown format.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = pathlib.Path(root)
        self.meta = _read_meta(self.root)
        self._type = record_type(self.meta.categories.num_all)

    def image_ids(self) -> list[int]:
        """Return the ids of all images with a record, in ascending order."""
        return sorted(_present(self.root))

    def read(self, image_id: int) -> Record:
        """Read the record of an image, in float32.

        Raises:
            FileNotFoundError: the image has no record.
            ValueError: the file is damaged or has other categories.
        """
        path = _record_path(self.root, image_id)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: no record of image {image_id}; run DUMP={self.root} '
                f'python -m oadp.dp.test … ({_README}) to its end'
            )
        try:
            rows = np.load(path, mmap_mode='r', allow_pickle=False)
        except (ValueError, EOFError) as e:
            raise ValueError(f'{path}: not a record ({e}); delete it and dump again') from e
        if rows.dtype != self._type or rows.ndim != 1:
            raise ValueError(
                f'{path}: expected (n,) records of {self.meta.categories.num_all} categories, '
                f'found {rows.shape} of {rows.dtype}; delete it and dump again'
            )
        # Logits may be −∞, the largest one of a RoI may not.
        faulty = [k for k in ('box', 'objectness', 'peaks') if not np.isfinite(rows[k]).all()]
        faulty += [k for k in ('bbox_logits', 'object_logits') if np.isnan(rows[k]).any()]
        if faulty:
            raise ValueError(f'{path}: NaN or infinity in {faulty}; delete it and dump again')
        peaks = torch.from_numpy(rows['peaks'].copy())
        bbox_logits, object_logits = (
            torch.from_numpy(rows[name].astype(np.float32)).add_(peaks[:, i, None])
            for i, name in enumerate(('bbox_logits', 'object_logits'))
        )
        boxes, objectness = (torch.from_numpy(rows[k].copy()) for k in ('box', 'objectness'))
        return Record(boxes, bbox_logits, object_logits, objectness)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _to_half(logits: np.ndarray) -> np.ndarray:
    """Convert to fp16, where values below the range of fp16 become the lowest value and not −∞."""
    lowest = np.finfo(np.float16).min
    return np.where(np.isneginf(logits), logits, logits.clip(min=lowest)).astype(np.float16)


def _record_path(root: pathlib.Path, image_id: int) -> pathlib.Path:
    return root / f'{image_id:012d}.npy'


def _present(root: pathlib.Path) -> set[int]:
    with os.scandir(root) as entries:
        stems = (e.name[:-4] for e in entries if e.name.endswith('.npy'))
        return {int(stem) for stem in stems if stem.isdigit()}


def _read_meta(root: pathlib.Path) -> DumpMeta:
    path = root / _META
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file, so {root} is not a dump; create one with '
            f'DUMP={root} python -m oadp.dp.test CONFIG CHECKPOINT ({_README})'
        )
    data = read_json(path)
    try:
        return DumpMeta.from_json(data)
    except ValueError as e:
        raise ValueError(f'{path}: {e}') from e
