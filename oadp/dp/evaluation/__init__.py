"""Evaluate detections: the metrics of COCO and LVIS, and an analysis of the errors behind them."""

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
