"""Object-Aware Distillation Pyramid for open-vocabulary object detection (CVPR 2023).

``from oadp import Detector`` gives the class that detects the named classes in images.
"""

__all__ = ['Detector', '__version__']

from typing import Any

__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    # Imported at its first use, as it imports OpenCV.
    if name == 'Detector':
        from oadp.inference.detector import Detector

        return Detector
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
