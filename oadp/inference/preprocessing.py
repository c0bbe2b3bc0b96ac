"""Convert an image to the network's input with NumPy and OpenCV.

The result is equal to that of mmdet's test pipeline, bit for bit (``tests/inference``): the same calls
of OpenCV in the same order.
"""

__all__ = ['Preprocessing']

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

_READ = {'type', 'file_client_args'}
_STEPS = ('Resize', 'RandomFlip', 'Normalize', 'Pad', 'ImageToTensor', 'Collect')
_FORMATS = ('ImageToTensor', 'DefaultFormatBundle')


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize to fit a size with the same aspect ratio, and normalize. The graph pads the image.

    Attributes:
        size: longer and shorter side, in pixels, of the largest input.
        mean: mean of each channel, in the order of ``channels``.
        std: standard deviation of each channel.
        channels: ``RGB`` or ``BGR``.
        divisor: height and width are padded with zeros, at the right and bottom, to multiples of it.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str
    divisor: int

    @classmethod
    def from_pipeline(
        cls, pipeline: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None
    ) -> 'Preprocessing':
        """Read a config's test pipeline.

        Args:
            pipeline: the pipeline of ``validator.dataloader.dataset``.
            size: sides in pixels, in place of the pipeline's ``img_scale``.

        Raises:
            ValueError: the pipeline has steps that this class does not support; names them.
        """
        try:
            read, augment = pipeline
            steps = [dict(step) for step in augment['transforms']]
            kinds = [step.pop('type') for step in steps]
            scale = augment['img_scale']
            by_kind = dict(zip(kinds, steps, strict=True))
            normalize = by_kind['Normalize']
            known = (
                read['type'] in ('LoadImageFromFile', 'ReadImage')
                and set(read) <= _READ
                and augment['type'] == 'MultiScaleFlipAug'
                and not augment.get('flip', False)
                and len(scale) == 2
                and all(isinstance(side, int) for side in scale)
                and [('ImageToTensor' if k in _FORMATS else k) for k in kinds] == list(_STEPS)
                and by_kind['Resize'] == {'keep_ratio': True}
                and set(by_kind['Pad']) == {'size_divisor'}
                and set(normalize) <= {'mean', 'std', 'to_rgb'}
            )
        except (ValueError, KeyError, TypeError) as e:
            raise ValueError(f'{_EXPECTED}; found {list(pipeline)} ({e})') from e
        if not known:
            raise ValueError(f'{_EXPECTED}; found {list(pipeline)}')
        longer, shorter = sorted(size or scale, reverse=True)
        return cls(
            size=(longer, shorter),
            mean=_triple(normalize['mean']),
            std=_triple(normalize['std']),
            channels='RGB' if normalize.get('to_rgb', True) else 'BGR',
            divisor=by_kind['Pad']['size_divisor'],
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'Preprocessing':
        """Build from the result of ``dataclasses.asdict``, also after a round trip through JSON."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        return cls(**values)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert an image.

        Args:
            image: (h, w, 3) uint8, RGB.

        Returns:
            The input, (1, 3, h', w') float32, and its scale, (4,) float32: divide xyxy boxes in pixels
            of the input by it to get pixels of the image.

        Raises:
            ValueError: the shorter side of the resized image would have no pixel.
        """
        h, w = image.shape[:2]
        factor = min(max(self.size) / max(h, w), min(self.size) / min(h, w))
        size_wh = int(w * factor + 0.5), int(h * factor + 0.5)
        if min(size_wh) < 1:
            raise ValueError(f'an image of {w} × {h} pixels is too narrow for the detector')
        if self.channels == 'BGR':
            image = image[..., ::-1]
        resized = cv2.resize(
            np.ascontiguousarray(image), size_wh, interpolation=cv2.INTER_LINEAR
        ).astype(np.float32)
        # mmdet stores both in float32 and computes in float64.
        mean, std = (np.array([v], np.float32).astype(np.float64) for v in (self.mean, self.std))
        cv2.subtract(resized, mean, resized)
        cv2.multiply(resized, 1 / std, resized)
        scale = np.array([size_wh[0] / w, size_wh[1] / h] * 2, dtype=np.float32)
        return np.ascontiguousarray(resized.transpose(2, 0, 1))[None], scale


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


_EXPECTED = (
    'expected a test pipeline of LoadImageFromFile and MultiScaleFlipAug (one img_scale, no flip) of '
    f'{", ".join(_STEPS)}, with keep_ratio=True and size_divisor, and no other options'
)
