"""Object-Aware Distillation Pyramid for open-vocabulary object detection (CVPR 2023).

``from oadp import Detector`` detects in a picture what it is given the names of.
"""

__all__ = ['Detector', '__version__']

from typing import Any

__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    # OpenCV comes with the detector, so it is looked up when someone asks for it.
    if name == 'Detector':
        from oadp.inference.detector import Detector

        return Detector
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
