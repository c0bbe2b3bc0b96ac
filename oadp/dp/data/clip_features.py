"""Load CLIP features in mmdet's data pipeline, beside the annotations."""

__all__ = [
    'LoadCLIPFeatures',
    'OVFormatBundle',
    'without_unused_features',
]

import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from mmcv.parallel import DataContainer
from mmdet.datasets import PIPELINES
from mmdet.datasets.pipelines import DefaultFormatBundle, to_tensor
from torch import Tensor
from torch.nn import functional as F

from oadp.compat import translate_location
from oadp.data.boxes import any_overlap, is_large_enough
from oadp.data.features.stores import PACKED_SUFFIX, Kind, Record, Store, open_store
from oadp.utils import runtime


class _Source:
    """The location of the features of one type: a folder, or several that are searched in order.

    Args:
        kind: the type of features.
        split: the split to read.
        data_root: the parent of the folders of the splits, or one packed file.
        task_name: the folder or packed file of the training split in it, or several.
        val_task_name: the same for the validation split.

    Raises:
        ValueError: the location of the split is not specified.
    """

    def __init__(
        self,
        kind: Kind,
        split: Literal['train', 'val'],
        data_root: str,
        task_name: str | list[str] | None = None,
        val_task_name: str | list[str] | None = None,
    ) -> None:
        root = pathlib.Path(data_root)
        names = task_name if split == 'train' else val_task_name
        if root.suffix == PACKED_SUFFIX and split == 'train':
            paths = [root]
        elif names is None or root.suffix == PACKED_SUFFIX:
            key = 'task_name' if split == 'train' else 'val_task_name'
            raise ValueError(
                f'LoadCLIPFeatures: the {split} split of the {kind} is not specified by '
                f'data_root={data_root!r}, {key}={names!r}; set {key} to its folder in data_root'
            )
        else:
            paths = [root / name for name in ([names] if isinstance(names, str) else names)]
        self._stores = [open_store(path, kind) for path in paths]
        self._dry_run = runtime.dry_run()

    def has(self, image_id: int) -> bool:
        """Return whether an image has features."""
        return any(image_id in store for store in self._stores)

    def read(self, image_id: int) -> Record:
        """Return the features of an image; in ``DRY_RUN``, those of any image if it has none."""
        for store in self._stores:
            if image_id in store:
                return store.read(image_id)
        if self._dry_run:
            for store in self._stand_ins():
                for other_id in store.ids()[:1]:
                    return store.read(other_id)
        raise self._stores[0].missing_error(image_id)

    def _stand_ins(self) -> Iterator[Store]:
        """Yield stores that may have features of other images, such as those extracted in ``DRY_RUN``."""
        yield from self._stores
        for store in self._stores:
            for path in sorted(runtime.DRY_RUN_DIR.glob(f'**/{store.path}')):
                yield open_store(path, store.kind)


_LOCATION_KEYS: dict[Kind, str] = {'globals': 'globals_', 'blocks': 'blocks', 'objects': 'objects'}
"""The arguments of ``LoadCLIPFeatures`` by type of features."""

_BATCH_KEYS: dict[Kind, tuple[str, ...]] = {
    'globals': ('clip_global',),
    'blocks': ('clip_blocks', 'block_bboxes', 'block_labels'),
    'objects': ('clip_objects', 'object_bboxes'),
}
"""The keys that ``LoadCLIPFeatures`` adds, by type of features."""


def without_unused_features(
    pipeline: Sequence[Mapping[str, Any]], used: Collection[str]
) -> list[Mapping[str, Any]]:
    """Return the config of a pipeline that loads and collects only the used types of CLIP features.

    Args:
        pipeline: a pipeline of mmdet, with or without ``LoadCLIPFeatures``.
        used: the types of features to keep: ``globals``, ``blocks``, ``objects``.
    """
    steps: list[Any] = [dict(step) if isinstance(step, Mapping) else step for step in pipeline]
    unused = [kind for kind in _LOCATION_KEYS if kind not in used]
    for step in steps:
        if step.get('type') == 'LoadCLIPFeatures':
            dropped = [kind for kind in unused if step.get(_LOCATION_KEYS[kind]) is not None]
            step.update((_LOCATION_KEYS[kind], None) for kind in dropped)
            if dropped:
                runtime.get_logger().info(
                    'LoadCLIPFeatures: %s are not read, as no head or loss of the model uses them',
                    ' and '.join(dropped),
                )
        elif step.get('type') == 'Collect':
            surplus = {key for kind in unused for key in _BATCH_KEYS[kind]}
            step['keys'] = [key for key in step['keys'] if key not in surplus]
    return steps


@PIPELINES.register_module()
class LoadCLIPFeatures:
    """Add the CLIP features of an image, from the files of ``oadp.oake``.

    =================  ================================================================
    ``clip_global``    (d,) fp16, of the image
    ``clip_blocks``    (n, d) fp16, of its blocks
    ``block_bboxes``   (n, 4) float32 xyxy pixels, one of ``bbox_fields``
    ``block_labels``   (n, C) bool: the categories of annotations that overlap a block
    ``clip_objects``   (m, d) fp16, of its object proposals of at least 4 × 4 pixels
    ``object_bboxes``  (m, 4) float32 xyxy pixels, one of ``bbox_fields``
    =================  ================================================================

    This step must follow ``LoadAnnotations`` and precede steps that move boxes, such as ``Resize``.

    Args:
        default: default values of the three locations.
        globals_, blocks, objects: the location of each type of features: ``data_root`` (the parent
            of the splits, or a packed file), ``task_name`` (a folder or packed file in it, or a
            list of them, which are searched in order) and ``val_task_name`` (the same for the
            validation split). None omits the type.
        split: ``val`` reads ``val_task_name``; ``TRAIN_WITH_VAL_DATASET`` sets it.

    Raises:
        ValueError: a location is incomplete, or the step is at the wrong position.
        FileNotFoundError: an image has no features (in ``DRY_RUN``: no image has).
    """

    def __init__(
        self,
        default: Mapping[str, Any] | None = None,
        globals_: Mapping[str, Any] | None = None,
        blocks: Mapping[str, Any] | None = None,
        objects: Mapping[str, Any] | None = None,
        split: Literal['train', 'val'] = 'train',
    ) -> None:
        locations: dict[Kind, Mapping[str, Any] | None] = dict(
            globals=globals_, blocks=blocks, objects=objects
        )
        self._sources = {
            kind: _Source(kind, split, **_location({**(default or {}), **location}))
            for kind, location in locations.items()
            if location is not None
        }
        self._dimension: int | None = None  # of the first embedding that was read

    @property
    def sources(self) -> dict[Kind, _Source]:
        """The locations of the features by type."""
        return dict(self._sources)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the features to ``results``, in place."""
        if 'scale_factor' in results or 'gt_bboxes' not in results:
            raise ValueError(
                'LoadCLIPFeatures must come after LoadAnnotations and before Resize, as its boxes '
                'are in pixels of the original image'
            )
        for kind, source in self._sources.items():
            record = source.read(results['img_info']['id'])
            self._check_dimension(kind, record, results['img_info']['id'])
            getattr(self, f'_add_{kind}')(results, record)
        return results

    def _check_dimension(self, kind: Kind, record: Record, image_id: int) -> None:
        embeddings = record['embeddings'] if isinstance(record, Mapping) else record
        dimension = embeddings.shape[-1]
        self._dimension = self._dimension or dimension
        if dimension != self._dimension:
            raise ValueError(
                f'the {kind} features of image {image_id} have {dimension} numbers, and those that '
                f'were read before have {self._dimension}; extract all of them with one CLIP'
            )

    def _add_globals(self, results: dict[str, Any], record: Tensor) -> None:
        results['clip_global'] = record

    def _add_blocks(self, results: dict[str, Any], record: dict[str, Tensor]) -> None:
        boxes = record['bboxes'].float()
        results['clip_blocks'] = record['embeddings']
        results['block_labels'] = _labels_within(
            boxes,
            torch.from_numpy(results['gt_bboxes']),
            torch.from_numpy(results['gt_labels']),
            results['num_classes'],
        )
        _add_boxes(results, 'block_bboxes', boxes)

    def _add_objects(self, results: dict[str, Any], record: dict[str, Tensor]) -> None:
        boxes = record['bboxes'].float()
        kept = is_large_enough(boxes)
        results['clip_objects'] = record['embeddings'][kept]
        _add_boxes(results, 'object_bboxes', boxes[kept])

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(self._sources)})'


def _location(location: dict[str, Any]) -> dict[str, Any]:
    """Translate the authors' names, for configs that ``load_config`` did not read."""
    if 'type' not in location:
        return location
    translated, line = translate_location(location, 'LoadCLIPFeatures')
    runtime.get_logger().warning(line)
    return translated


def _add_boxes(results: dict[str, Any], key: str, boxes: Tensor) -> None:
    results[key] = boxes.numpy()  # mmdet's transforms move NumPy arrays
    results['bbox_fields'].append(key)


def _labels_within(xyxy: Tensor, gt_xyxy: Tensor, gt_labels: Tensor, num_classes: int) -> Tensor:
    """Return (n, C) bool, the categories of annotations that overlap each of n boxes."""
    overlaps = any_overlap(xyxy, gt_xyxy).int()
    return (overlaps @ F.one_hot(gt_labels, num_classes).int()) > 0


@PIPELINES.register_module()
class OVFormatBundle(DefaultFormatBundle):
    """Format a sample as mmdet does, with the keys of ``LoadCLIPFeatures``."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Convert the values of ``results`` to tensors in containers of mmcv."""
        results = super().__call__(results)
        for key in (
            'clip_blocks',
            'block_bboxes',
            'block_labels',
            'clip_objects',
            'object_bboxes',
        ):
            if key in results:
                results[key] = DataContainer(to_tensor(results[key]))
        if 'clip_global' in results:
            results['clip_global'] = DataContainer(
                results['clip_global'], stack=True, pad_dims=None
            )
        return results
