"""Classify the outcome of each object, and count the classes that objects are confused with."""

__all__ = ['OUTCOMES', 'Called', 'Confusion', 'called', 'confusions', 'outcomes']

from typing import NamedTuple

import numpy as np

from oadp.dp.evaluation.matching import NEAR_IOU, Matches

OUTCOMES = (
    'never proposed',
    'called base',
    'called novel',
    'poorly localized',
    'missed',
    'outscored',
    'found',
)
"""The possible outcomes of an object; :func:`outcomes` returns positions in this tuple."""

_NEVER_PROPOSED, _BASE, _NOVEL, _NEAR, _MISSED, _OUTSCORED, _FOUND = range(len(OUTCOMES))


class Called(NamedTuple):
    """Count covered objects by the class of the highest-scoring detection that covers them.

    The HD-OVD paper counts them in the same way.

    Attributes:
        base: the number of objects detected as a base class other than their own.
        novel: the number of objects detected as a novel class other than their own.
        right: the number of objects detected as their own class.
    """

    base: int
    novel: int
    right: int


class Confusion(NamedTuple):
    """The objects of one class that are detected as another class.

    Attributes:
        true, called: the names of the two classes.
        is_novel: whether ``true`` is novel.
        objects: the number of objects.
        weight: their contribution to the mean recall of the group (base or novel), in [0, 1].
            All classes count equally, so an object of a rare class has a higher weight.
    """

    true: str
    called: str
    is_novel: bool
    objects: int
    weight: float


def outcomes(matches: Matches) -> np.ndarray:
    """Return the outcome of each evaluated object, (n,) positions in ``OUTCOMES``.

    An object that matches a detection is *found*, or *outscored* if a detection of another class
    covers it with a higher score. An object that matches no detection is *called base* or *called
    novel* if a detection of another class covers it, by the class of the one with the highest
    score. Otherwise it is *never proposed* if no proposal covers it, *poorly localized* if a
    detection of its class is near, and else *missed*.
    """
    rows, image = matches.judged_objects, matches.image
    labels = matches.truth.objects.labels[rows]
    top = image.covers[rows]
    found = image.detections[rows] >= 0
    if not len(matches.detections.labels):
        top_label = np.full(len(rows), -1)
    else:
        top_label = np.where(top >= 0, matches.detections.labels[top], -1)
    is_other = (top_label >= 0) & (top_label != labels)
    result = np.full(len(rows), _MISSED)
    result[image.own_iou[rows] >= NEAR_IOU] = _NEAR
    if matches.proposed is not None:
        result[~matches.proposed[rows]] = _NEVER_PROPOSED
    is_novel = matches.is_novel[top_label]
    result[is_other & ~is_novel] = _BASE
    result[is_other & is_novel] = _NOVEL
    result[found] = np.where(is_other[found], _OUTSCORED, _FOUND)
    return result


def called(matches: Matches) -> dict[str, Called]:
    """Return the counts of covered ``novel`` and ``base`` objects by the class they are detected as."""
    rows = matches.judged_objects
    rows = rows[matches.image.covers[rows] >= 0]
    labels = matches.truth.objects.labels[rows]
    top = matches.detections.labels[matches.image.covers[rows]]
    right, top_is_novel = top == labels, matches.is_novel[top]
    result = {}
    for name, group in _groups(matches, labels).items():
        result[name] = Called(
            base=int((group & ~right & ~top_is_novel).sum()),
            novel=int((group & ~right & top_is_novel).sum()),
            right=int((group & right).sum()),
        )
    return result


def _groups(matches: Matches, labels: np.ndarray) -> dict[str, np.ndarray]:
    is_novel = matches.is_novel[labels]
    return dict(novel=is_novel, base=~is_novel)


def confusions(matches: Matches) -> list[Confusion]:
    """Return all confusions, novel before base, in descending order of weight."""
    rows = matches.judged_objects
    labels = matches.truth.objects.labels[rows]
    counts = np.bincount(labels, minlength=matches.truth.categories.num_all)
    kind = outcomes(matches)
    confused = np.isin(kind, (_BASE, _NOVEL, _OUTSCORED))
    top = matches.detections.labels[matches.image.covers[rows[confused]]]
    pairs, numbers = np.unique(np.stack([labels[confused], top]), axis=1, return_counts=True)
    names, is_novel = matches.truth.categories.all_, matches.is_novel
    sizes = {novel: int((counts[is_novel == novel] > 0).sum()) for novel in (False, True)}
    found = [
        Confusion(
            names[true],
            names[other],
            bool(is_novel[true]),
            number,
            number / int(counts[true]) / sizes[bool(is_novel[true])],
        )
        for true, other, number in zip(*pairs.tolist(), numbers.tolist(), strict=True)
    ]
    return sorted(found, key=lambda c: (not c.is_novel, -c.weight, c.true, c.called))
