"""Evaluation of detections: the figures of COCO and LVIS, and what they are made of."""

from .detections import Detections
from .ground_truth import GroundTruth
from .metrics import Curves, copypaste, metric_prefixes

__all__ = ['Curves', 'Detections', 'GroundTruth', 'copypaste', 'metric_prefixes']
