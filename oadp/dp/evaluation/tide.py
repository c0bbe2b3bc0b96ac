"""Compute the cost of each type of error (TIDE, arXiv:2008.08115) for base and novel classes.

Each type of error is corrected on its own; the gain in AP50 is its cost. TIDE averages over all
classes. Here, the gain of each class is kept: correcting a detection that classifies a novel object
as a base class increases the AP of the novel class.
"""

__all__ = ['ERRORS', 'average_precisions', 'error_costs', 'error_kinds']

import numpy as np

from oadp.dp.evaluation.matching import FOUND_IOU, NEAR_IOU, Matches

ERRORS = ('Cls', 'Loc', 'Both', 'Dupe', 'Bkg', 'Miss')
"""Classification, localization, both, duplicate, background, missed object."""

_CLS, _LOC, _BOTH, _DUPE, _BKG = range(5)
_RECALLS = np.linspace(0, 1, 101)


def average_precisions(
    labels: np.ndarray, scores: np.ndarray, is_right: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Return the (C,) AP of each class, interpolated as in COCO; NaN without objects.

    Args:
        labels: (M,) labels of detections. Detections with equal scores are ranked by their order.
        scores: (M,) their scores.
        is_right: (M,) bool, whether they match an object.
        num_objects: (C,) number of objects of each class.
    """
    result = np.full(len(num_objects), np.nan)
    order = np.lexsort((-scores, labels))
    bounds = np.searchsorted(labels[order], np.arange(len(num_objects) + 1))
    for label in np.flatnonzero(num_objects > 0):
        right = is_right[order[bounds[label] : bounds[label + 1]]]
        true = np.cumsum(right)
        precision = true / np.arange(1, len(true) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(true / num_objects[label], _RECALLS, side='left')
        result[label] = np.append(precision, 0.0)[at].sum() / len(_RECALLS)
    return result


def error_kinds(matches: Matches) -> np.ndarray:
    """Return the error type of each detection: (M,) positions in ``ERRORS``, or −1 for no error."""
    image = matches.image
    kinds = np.full(len(matches.ignored), _BOTH)
    kinds[np.maximum(image.same_iou, image.other_iou) <= NEAR_IOU] = _BKG
    kinds[image.same_iou >= FOUND_IOU] = _DUPE
    kinds[image.other_iou >= FOUND_IOU] = _CLS
    kinds[(image.same_iou >= NEAR_IOU) & (image.same_iou < FOUND_IOU)] = _LOC
    kinds[(image.objects >= 0) | matches.ignored] = -1
    return kinds


def error_costs(matches: Matches) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Return the gain in AP50 from correcting each type of error, and the number of errors.

    Returns:
        A pair: for ``all``, ``base`` and ``novel``, ``AP50`` and its gain by type, as fractions in
        [0, 1] (0 for a group without objects); and the number of errors by type.
    """
    judged = matches.judged_objects
    num_all = matches.truth.categories.num_all
    num_objects = np.bincount(matches.truth.objects.labels[judged], minlength=num_all)
    kinds, image = error_kinds(matches), matches.image
    kept = ~matches.ignored
    missed = _missed(matches, kinds)
    before = _ap(matches, kept, image.objects >= 0, matches.detections.labels, num_objects)
    after = {}
    for kind in (_CLS, _LOC):
        after[ERRORS[kind]] = _corrected(matches, kinds == kind, kind, kept, num_objects)
    for kind in (_BOTH, _DUPE, _BKG):
        after[ERRORS[kind]] = _ap(
            matches,
            kept & (kinds != kind),
            image.objects >= 0,
            matches.detections.labels,
            num_objects,
        )
    left = num_objects - np.bincount(matches.truth.objects.labels[missed], minlength=num_all)
    after['Miss'] = _ap(matches, kept, image.objects >= 0, matches.detections.labels, left)
    counts = {name: int((kinds == i).sum()) for i, name in enumerate(ERRORS[:-1])}
    groups = dict(all=np.ones(num_all, bool), base=~matches.is_novel, novel=matches.is_novel)
    costs = {
        name: {'AP50': _mean(before, group)}
        | {error: _mean(after[error] - before, group) for error in ERRORS}
        for name, group in groups.items()
    }
    return costs, {**counts, 'Miss': len(missed)}


def _missed(matches: Matches, kinds: np.ndarray) -> np.ndarray:
    """Return the objects that match no detection, not even a corrected one."""
    image = matches.image
    targets = np.concatenate([image.other[kinds == _CLS], image.same[kinds == _LOC]])
    rows = matches.judged_objects
    return rows[(image.detections[rows] < 0) & ~np.isin(rows, targets)]


def _corrected(
    matches: Matches, wrong: np.ndarray, kind: int, kept: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Return the AP with the best wrong detection of each unmatched object corrected.

    The other wrong detections are removed.
    """
    image, detections = matches.image, matches.detections
    rows = np.flatnonzero(wrong)
    targets = (image.other if kind == _CLS else image.same)[rows]
    free = image.detections[targets] < 0
    rows, targets = rows[free], targets[free]
    order = np.argsort(-detections.scores[rows], kind='stable')
    _, first = np.unique(targets[order], return_index=True)
    best, best_targets = rows[order[first]], targets[order[first]]
    right, labels = image.objects >= 0, detections.labels.copy()
    right[best], labels[best] = True, matches.truth.objects.labels[best_targets]
    stays = kept & ~wrong
    stays[best] = True
    return _ap(matches, stays, right, labels, num_objects)


def _ap(
    matches: Matches,
    rows: np.ndarray,
    right: np.ndarray,
    labels: np.ndarray,
    num_objects: np.ndarray,
) -> np.ndarray:
    scores = matches.detections.scores[rows]
    return average_precisions(labels[rows], scores, right[rows], num_objects)


def _mean(values: np.ndarray, group: np.ndarray) -> float:
    values = values[group & ~np.isnan(values)]
    return float(values.mean()) if values.size else 0.0
