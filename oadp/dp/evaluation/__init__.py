"""Evaluation of detections: the figures of COCO and LVIS, and what they are made of."""

from .classwise import class_figures
from .detections import Detections
from .ground_truth import GroundTruth
from .metrics import Curves, copypaste, metric_prefixes

__all__ = [
    'Curves',
    'Detections',
    'GroundTruth',
    'class_figures',
    'copypaste',
    'metric_prefixes',
]
