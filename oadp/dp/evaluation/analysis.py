"""Analyze the errors on novel and base classes, for ``oadp.analyze``."""

__all__ = ['RECALL_LIMITS', 'Analysis', 'analyze']

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.matching import Matches, match
from oadp.dp.evaluation.metrics import Curves
from oadp.dp.evaluation.outcomes import OUTCOMES, Called, Confusion, called, confusions, outcomes
from oadp.dp.evaluation.tide import error_costs

RECALL_LIMITS = (1, 10, 100, 300)
"""The maximum numbers of detections per image and category at which recall is computed."""

_BINS = 10
_SIZES = ('small', 'medium', 'large')


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The results of ``oadp.analyze``. Each mapping has the groups ``novel`` and ``base``.

    Attributes:
        objects: the number of evaluated objects.
        has_proposals: whether proposals were given.
        outcomes: the number of objects by outcome, see :data:`OUTCOMES`; they sum to ``objects``.
        called: the classes that covered objects are detected as, counted as in the HD-OVD paper.
        confusions: all confusions, novel before base, in descending order of weight.
        costs: by group, also ``all``: AP50 and its gain from correcting each type of error (TIDE).
        error_counts: the number of errors by type.
        recall: the mean recall over the classes at IoU 0.5 by limit; −1 without objects.
        sizes: AP of small, medium and large objects; −1 without objects.
        calibration: ten bins of scores, each with the ``count``, the mean ``score`` and the
            ``precision`` of its detections at IoU 0.5; and ``ece``, the expected calibration error.
    """

    objects: dict[str, int]
    has_proposals: bool
    outcomes: dict[str, dict[str, int]]
    called: dict[str, Called]
    confusions: list[Confusion]
    costs: dict[str, dict[str, float]]
    error_counts: dict[str, int]
    recall: dict[str, dict[int, float]]
    sizes: dict[str, dict[str, float]]
    calibration: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain containers."""
        data = dataclasses.asdict(self)
        data['called'] = {group: c._asdict() for group, c in self.called.items()}
        data['confusions'] = [c._asdict() for c in self.confusions]
        return data


def analyze(
    truth: GroundTruth,
    detections: Detections,
    proposals: Mapping[int, np.ndarray] | None = None,
) -> Analysis:
    """Analyze detections.

    Args:
        truth: the ground truth.
        detections: detections on its images.
        proposals: (p, 4 or more) boxes xyxy of each image by image id, in pixels of the original
            image; None if they are not known.
    """
    matches = match(truth, detections, proposals)
    labels = truth.objects.labels[matches.judged_objects]
    is_novel, kinds = matches.is_novel[labels], outcomes(matches)
    groups = dict(novel=is_novel, base=~is_novel)
    costs, counts = error_costs(matches)
    curves = truth.curves(detections)
    ranked = truth.curves(detections, limits=RECALL_LIMITS)
    return Analysis(
        objects={name: int(group.sum()) for name, group in groups.items()},
        has_proposals=proposals is not None,
        outcomes={
            name: dict(
                zip(
                    OUTCOMES,
                    np.bincount(kinds[group], minlength=len(OUTCOMES)).tolist(),
                    strict=True,
                )
            )
            for name, group in groups.items()
        },
        called=called(matches),
        confusions=confusions(matches),
        costs=costs,
        error_counts=counts,
        recall={name: _recall(ranked, group) for name, group in _columns(matches).items()},
        sizes={
            name: {size: curves.average_precision(group, None, size, -1) for size in _SIZES}
            for name, group in _columns(matches).items()
        },
        calibration=_calibration(matches),
    )


def _columns(matches: Matches) -> dict[str, slice]:
    bases = matches.truth.categories.num_bases
    return dict(novel=slice(bases, None), base=slice(bases))


def _recall(curves: Curves, labels: slice) -> dict[int, float]:
    return {
        limit: curves.average_recall(labels, 0.5, 'all', i) for i, limit in enumerate(RECALL_LIMITS)
    }


def _calibration(matches: Matches) -> dict[str, dict[str, Any]]:
    detections, kept = matches.detections, ~matches.ignored
    is_novel = matches.is_novel[detections.labels]
    right = matches.image.objects >= 0
    result = {}
    for name, group in dict(novel=is_novel & kept, base=~is_novel & kept).items():
        scores, hits = detections.scores[group].astype(np.float64), right[group]
        index = np.minimum((scores * _BINS).astype(int), _BINS - 1)
        count = np.bincount(index, minlength=_BINS)
        score = np.bincount(index, scores, _BINS) / np.maximum(count, 1)
        precision = np.bincount(index, hits, _BINS) / np.maximum(count, 1)
        gap = np.abs(score - precision) * count
        result[name] = dict(
            ece=float(gap.sum() / max(1, count.sum())),
            bins=[
                dict(count=int(n), score=float(s), precision=float(p))
                for n, s, p in zip(count, score, precision, strict=True)
            ],
        )
    return result
