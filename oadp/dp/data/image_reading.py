"""Read images in mmdet's data pipeline as the other parts of OADP do."""

__all__ = ['ReadImage', 'naming_image', 'with_own_reader']

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmdet.datasets import PIPELINES
from mmdet.datasets.pipelines import LoadImageFromFile

from oadp.data.images import decode_image, read_image


@PIPELINES.register_module()
class ReadImage(LoadImageFromFile):
    """Read an image as the other parts of OADP do, and check its size against the annotation.

    It replaces mmdet's ``LoadImageFromFile`` in the pipelines of all datasets (see
    ``with_own_reader``), with the same arguments and results.

    Raises:
        FileNotFoundError: no such image.
        ValueError: see ``read_image``; or ``color_type`` is not ``color``.
    """

    file_client: Any

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.color_type != 'color':
            raise ValueError(
                f"LoadImageFromFile: color_type is {self.color_type!r}; expected 'color', as images "
                'are read as 8-bit RGB'
            )

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return ``results`` with the image and its shape."""
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
    """Return the config of a pipeline with ``ReadImage`` instead of ``LoadImageFromFile``."""
    theirs = ('LoadImageFromFile', LoadImageFromFile)
    return [
        {**step, 'type': ReadImage.__name__}
        if isinstance(step, Mapping) and step.get('type') in theirs
        else step
        for step in pipeline
    ]


@contextlib.contextmanager
def naming_image(path: str | os.PathLike) -> Iterator[None]:
    """Name the image in the error if OpenCV fails in a step of a pipeline.

    Raises:
        ValueError: OpenCV fails, for example to resize an image of 1 × 5000 pixels, which would have
            no column left.
    """
    try:
        yield
    except cv2.error as e:
        cause = ' '.join(str(e).split())
        raise ValueError(
            f'{path}: the image cannot be resized to the input of the network ({cause})'
        ) from e
