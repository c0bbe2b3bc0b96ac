"""Evaluation of detections."""

from .metrics import MAX_DETECTIONS, coco_metrics, coco_precision, metric_prefixes

__all__ = ['MAX_DETECTIONS', 'coco_metrics', 'coco_precision', 'metric_prefixes']
