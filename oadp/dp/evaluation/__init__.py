"""Evaluation of detections: the figures of COCO and LVIS, and what they are made of."""

from oadp.dp.evaluation.classwise import class_figures
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.metrics import Curves, copypaste, metric_prefixes

__all__ = [
    'Curves',
    'Detections',
    'GroundTruth',
    'class_figures',
    'copypaste',
    'metric_prefixes',
]
