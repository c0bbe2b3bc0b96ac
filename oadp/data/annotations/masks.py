"""Check the masks of annotation files: polygons or run lengths.

For a wrong mask, pycocotools raises an error without the annotation, or uses another shape (it treats a
"polygon" of four numbers as a box). So masks are checked first.
"""

__all__ = ['MIN_POLYGON', 'check_masks']

import math
from collections.abc import Sequence
from typing import Any

from oadp.data.annotations.columns import Column, Records

MIN_POLYGON = 6  # numbers: three points


def check_masks(records: Records, heights: Column, widths: Column) -> int:
    """Check the ``segmentation`` of annotations, and remove polygons of fewer than three points.

    Args:
        records: annotations; polygons are removed in place.
        heights: (n,) heights of their images in pixels; −1 if unknown.
        widths: (n,) widths of their images in pixels; −1 if unknown.

    Returns:
        Number of removed polygons.
    """
    missing, wrong, mismatched, dropped = [], [], [], 0
    sizes = zip(heights.tolist(), widths.tolist(), strict=True)
    for i, (value, size) in enumerate(zip(records.values('segmentation'), sizes, strict=True)):
        if not value:
            missing.append(i)
        elif type(value) is list:
            kept = [polygon for polygon in value if _is_polygon(polygon)]
            if not kept:
                wrong.append(i)
            elif len(kept) < len(value):
                dropped += len(value) - len(kept)
                records.records[i]['segmentation'] = kept
        elif not _is_run_lengths(value):
            wrong.append(i)
        elif -1 not in size and value['size'] != list(size):
            mismatched.append(i)
    advice = 'give each its mask, or leave masks out of the config (with_mask, --metrics segm)'
    records.fault('without segmentation', advice, missing)
    records.fault(
        'whose segmentation is neither polygons of at least three points nor run lengths',
        advice,
        wrong,
        'segmentation',
    )
    records.fault(
        "whose segmentation differs from the size of the annotation's image",
        'expected "size": [height, width] of the image',
        mismatched,
    )
    return dropped


def _is_polygon(value: Any) -> bool:
    if type(value) is not list or len(value) < MIN_POLYGON or len(value) % 2:
        return False
    try:
        return math.isfinite(sum(value))
    except (TypeError, OverflowError):
        return False


def _is_run_lengths(value: Any) -> bool:
    if type(value) is not dict:
        return False
    size, counts = value.get('size'), value.get('counts')
    if not (type(size) is list and len(size) == 2 and _are_counts(size)):
        return False
    if type(counts) is str:
        return bool(counts) and counts.isascii()
    return type(counts) is list and _are_counts(counts) and sum(counts) == size[0] * size[1]


def _are_counts(values: Sequence[Any]) -> bool:
    return all(type(v) is int and v >= 0 for v in values)
