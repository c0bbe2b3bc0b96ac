"""Count the annotations that mmdet excludes from training without a message."""

__all__ = ['left_out_annotations', 'log_left_out_annotations']

from collections.abc import Sequence

import numpy as np

from oadp.data.annotations.columns import positions_of
from oadp.data.annotations.table import AnnotationTable
from oadp.utils import runtime

_MIN_BOX_SIDE = 1  # pixels; as in mmdet


def left_out_annotations(table: AnnotationTable, category_ids: Sequence[int]) -> dict[str, int]:
    """Count the annotations that mmdet excludes, by the first reason that applies.

    Args:
        table: annotations of images with known sizes.
        category_ids: the ids of the categories that are trained.
    """
    columns = table.columns
    size = table.sizes_wh[positions_of(columns.image_ids, table.image_ids)].astype(np.float64)
    xy, wh = columns.boxes[:, :2], columns.boxes[:, 2:]
    inside = np.minimum(xy + wh, size) - np.maximum(xy, 0)
    reasons = {
        'not of base categories': ~np.isin(columns.category_ids, category_ids),
        'marked "ignore"': columns.ignored,
        'of boxes narrower or lower than a pixel, or without area': (
            (wh < _MIN_BOX_SIDE).any(axis=1) | (columns.areas <= 0)
        ),
        'of boxes outside of their image': (inside <= 0).any(axis=1),
        'of crowds, whose boxes are neither positives nor negatives': columns.crowd,
    }
    counts, left = {}, np.ones(len(columns.ids), bool)
    for reason, applies in reasons.items():
        counts[reason] = int((left & applies).sum())
        left &= ~applies
    return counts


def log_left_out_annotations(
    ann_file: str, table: AnnotationTable, category_ids: Sequence[int]
) -> None:
    """Log the counts of ``left_out_annotations`` in one line, if there are any."""
    counts = left_out_annotations(table, category_ids)
    found = [
        f'{count} of {len(table.columns.ids)} annotations are {reason}'
        for reason, count in counts.items()
        if count
    ]
    if found:
        message = '%s: %s; they are excluded from training'
        runtime.get_logger().info(message, ann_file, ', '.join(found))
