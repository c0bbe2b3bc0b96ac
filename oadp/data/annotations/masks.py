"""Check the masks of annotation files: polygons or run lengths.

For a wrong mask, pycocotools raises an error without the annotation, or uses another shape (it treats a
"polygon" of four numbers as a box). So masks are checked first.
"""

__all__ = ['MIN_POLYGON', 'MaskSizes', 'check_masks']

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from oadp.data.annotations.columns import Records

MIN_POLYGON = 6  # numbers: three points
_TOO_LARGE = 2**62  # pixels; no image has this side, and it is an int64


class MaskSizes(NamedTuple):
    """The sizes that run lengths have, to be compared with those of their images.

    Attributes:
        positions: positions of n annotations among those checked.
        sizes_hw: (height, width) of each in pixels.
    """

    positions: list[int]
    sizes_hw: list[tuple[int, int]]


def check_masks(records: Records) -> tuple[int, MaskSizes]:
    """Check the ``segmentation`` of annotations, and remove polygons of fewer than three points.

    Args:
        records: annotations; polygons are removed in place.

    Returns:
        Number of removed polygons; and the sizes of run lengths.
    """
    missing, wrong, dropped, sizes = [], [], 0, MaskSizes([], [])
    for i, value in enumerate(records.values('segmentation')):
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
        else:
            sizes.positions.append(i)
            height, width = (min(v, _TOO_LARGE) for v in value['size'])
            sizes.sizes_hw.append((height, width))
    advice = 'give each its mask, or leave masks out of the config (with_mask, --metrics segm)'
    records.fault('without segmentation', advice, missing)
    records.fault(
        'whose segmentation is neither polygons of at least three points nor run lengths',
        advice,
        wrong,
        'segmentation',
    )
    return dropped, sizes


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
