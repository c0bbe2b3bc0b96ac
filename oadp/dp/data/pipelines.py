"""Steps of mmdet's data pipeline: the image, and CLIP's features of it beside its annotations."""

__all__ = [
    'LoadCLIPFeatures',
    'OVFormatBundle',
    'ReadImage',
    'naming_image',
    'with_own_reader',
    'without_unused_features',
]

import contextlib
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import cv2
import mmcv
import numpy as np
import torch
from mmcv.parallel import DataContainer
from mmdet.datasets import PIPELINES
from mmdet.datasets.pipelines import DefaultFormatBundle, LoadImageFromFile, to_tensor
from torch import Tensor
from torch.nn import functional as F

from oadp.compat import translate_location
from oadp.data.boxes import any_overlap, is_large_enough
from oadp.data.features.stores import PACKED_SUFFIX, Kind, Record, Store, open_store
from oadp.data.images import decode_image, read_image
from oadp.utils import runtime


class _Source:
    """Where the features of one kind are: a folder, or several to look in one after the other.

    Args:
        kind: of the features.
        data_root: parent of the splits' folders, or one packed file.
        task_name: the split's folder or packed file in it, or several.
        val_task_name: the same for the validation split.
        split: which of the two to read.
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
                f'LoadCLIPFeatures: the {split} split of the {kind} is not given by '
                f'data_root={data_root!r}, {key}={names!r}; name its folder in data_root by {key}'
            )
        else:
            paths = [root / name for name in ([names] if isinstance(names, str) else names)]
        self._stores = [open_store(path, kind) for path in paths]
        self._dry_run = runtime.dry_run()

    def has(self, image_id: int) -> bool:
        """Return whether an image has features."""
        return any(image_id in store for store in self._stores)

    def read(self, image_id: int) -> Record:
        for store in self._stores:
            if image_id in store:
                return store.read(image_id)
        if self._dry_run:
            for store in self._stand_ins():
                for other_id in store.ids()[:1]:
                    return store.read(other_id)
        raise self._stores[0].missing_error(image_id)

    def _stand_ins(self) -> Iterator[Store]:
        """What may hold another image's record; extraction in ``DRY_RUN`` writes to its own place."""
        yield from self._stores
        for store in self._stores:
            for path in sorted(runtime.DRY_RUN_DIR.glob(f'**/{store.path}')):
                yield open_store(path, store.kind)


@PIPELINES.register_module()
class ReadImage(LoadImageFromFile):
    """Read an image as all of OADP does, and compare its size with the annotation's.

    It takes the place of mmdet's ``LoadImageFromFile``, whose arguments and results it has, in the
    pipelines of every dataset (see ``with_own_reader``).

    Raises:
        FileNotFoundError: no such image.
        ValueError: see ``read_image``; or ``color_type`` is not ``color``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.color_type != 'color':
            raise ValueError(
                f"LoadImageFromFile: color_type is {self.color_type!r}; expected 'color', as images "
                'are read as 8-bit RGB'
            )

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        info = results['img_info']
        name = os.path.join(results['img_prefix'] or '', info['filename'])
        size_wh = (info['width'], info['height']) if {'width', 'height'} <= info.keys() else None
        image = self._read(name, size_wh)
        if getattr(self, 'channel_order', 'bgr') == 'bgr':
            image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if self.to_float32:
            image = image.astype(np.float32)
        return {
            **results,
            'filename': name,
            'ori_filename': info['filename'],
            'img': image,
            'img_shape': image.shape,
            'ori_shape': image.shape,
            'img_fields': ['img'],
        }

    def _read(self, name: str, size_wh: tuple[int, int] | None) -> np.ndarray:
        if self.file_client_args.get('backend', 'disk') == 'disk':
            return read_image(name, size_wh)
        if self.file_client is None:
            self.file_client = mmcv.FileClient(**self.file_client_args)
        return decode_image(self.file_client.get(name), name, size_wh)


def with_own_reader(pipeline: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a pipeline's config with ``ReadImage`` in place of ``LoadImageFromFile``."""
    theirs = ('LoadImageFromFile', LoadImageFromFile)
    return [
        {**step, 'type': ReadImage.__name__}
        if isinstance(step, Mapping) and step.get('type') in theirs
        else step
        for step in pipeline
    ]


_LOCATION_KEYS: dict[Kind, str] = {'globals': 'globals_', 'blocks': 'blocks', 'objects': 'objects'}
"""Kind of features to the argument of ``LoadCLIPFeatures``."""

_BATCH_KEYS: dict[Kind, tuple[str, ...]] = {
    'globals': ('clip_global',),
    'blocks': ('clip_blocks', 'block_bboxes', 'block_labels'),
    'objects': ('clip_objects', 'object_bboxes'),
}
"""Kind of features to what ``LoadCLIPFeatures`` adds."""


def without_unused_features(
    pipeline: Sequence[Mapping[str, Any]], used: Collection[str]
) -> list[Mapping[str, Any]]:
    """Return a pipeline's config that neither loads nor collects CLIP features of other kinds.

    Args:
        pipeline: of mmdet, with or without ``LoadCLIPFeatures``.
        used: kinds of features: ``globals``, ``blocks``, ``objects``.
    """
    steps = [dict(step) if isinstance(step, Mapping) else step for step in pipeline]
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
    """Add what CLIP sees in an image, from the files of ``oadp.oake``; None leaves a kind out.

    =================  ================================================================
    ``clip_global``    (d,) fp16, of the image
    ``clip_blocks``    (n, d) fp16, of its blocks
    ``block_bboxes``   (n, 4) float32 xyxy pixels, one of ``bbox_fields``
    ``block_labels``   (n, C) bool: the categories of annotations that overlap a block
    ``clip_objects``   (m, d) fp16, of its object proposals of at least 4 pixels
    ``object_bboxes``  (m, 4) float32 xyxy pixels, one of ``bbox_fields``
    =================  ================================================================

    Stands after ``LoadAnnotations`` and before what moves boxes, such as ``Resize``.

    Args:
        default: what the three kinds' locations have in common.
        globals_, blocks, objects: each kind's location: ``data_root`` (parent of the splits, or a
            packed file), ``task_name`` (a folder or packed file in it, or a list of them to look in
            one after the other) and ``val_task_name`` (the same for the validation split).
        split: ``val`` reads ``val_task_name``; set by ``TRAIN_WITH_VAL_DATASET``.

    Raises:
        ValueError: a location is incomplete, or the step stands at the wrong place.
        FileNotFoundError: an image has no features (in ``DRY_RUN``, none at all is there).
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

    @property
    def sources(self) -> dict[Kind, _Source]:
        """Where the features of each kind are read from."""
        return dict(self._sources)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if 'scale_factor' in results or 'gt_bboxes' not in results:
            raise ValueError(
                'LoadCLIPFeatures must stand after LoadAnnotations and before Resize, as its boxes '
                'are in pixels of the original image'
            )
        for kind, source in self._sources.items():
            record = source.read(results['img_info']['id'])
            getattr(self, f'_add_{kind}')(results, record)
        return results

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
    """Translate the authors' spelling, where a config was not read by ``load_config``."""
    if 'type' not in location:
        return location
    translated, line = translate_location(location, 'LoadCLIPFeatures')
    runtime.get_logger().warning(line)
    return translated


def _add_boxes(results: dict[str, Any], key: str, boxes: Tensor) -> None:
    results[key] = boxes.numpy()  # mmdet's transforms move NumPy arrays
    results['bbox_fields'].append(key)


def _labels_within(xyxy: Tensor, gt_xyxy: Tensor, gt_labels: Tensor, num_classes: int) -> Tensor:
    """(n, C) bool: the categories of the annotations that overlap each of n boxes, however little."""
    overlaps = any_overlap(xyxy, gt_xyxy).int()
    return (overlaps @ F.one_hot(gt_labels, num_classes).int()) > 0


@PIPELINES.register_module()
class OVFormatBundle(DefaultFormatBundle):
    """mmdet's formatting, and that of what ``LoadCLIPFeatures`` added."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
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


@contextlib.contextmanager
def naming_image(path: str | os.PathLike) -> Iterator[None]:
    """Name the image where OpenCV fails in a step of a pipeline.

    Raises:
        ValueError: such as at resizing an image of 1 × 5000 pixels, of which no column is left.
    """
    try:
        yield
    except cv2.error as e:
        cause = ' '.join(str(e).split())
        raise ValueError(
            f'{path}: an image that cannot be resized to the input of the network ({cause})'
        ) from e
