"""Which detectors and RoI heads of mmdet can be distilled, and the classes that are made of them."""

__all__ = ['check_roi_head', 'combine']

import functools
from typing import Any

from mmdet.models import DETECTORS, HEADS, TwoStageDetector

from oadp.dp.models.distilled import DistilledDetector
from oadp.dp.models.level_mixins import BlockLevel, ObjectLevel

_ROI_HEADS: dict[type, str] = {
    ObjectLevel: "'ViLDEnsembleRoIHead', or 'ViLDCascadeRoIHead' for a cascade",
    BlockLevel: "'OADPRoIHead', or 'OADPCascadeRoIHead' for a cascade",
}
"""Level of the pyramid to the RoI heads that have it, for error messages."""


@functools.cache
def combine(distilled: type, name: str) -> type:
    """Return a subclass of ViLD or OADP, and of a detector of mmdet.

    Raises:
        ValueError: the detector is unknown, or its training is not that of ``TwoStageDetector``, of
            which ``ViLD`` and ``OADP`` take the place.
    """
    host = DETECTORS.get(name)
    if host is None:
        raise ValueError(
            f'model.detector is {name!r}: expected a two-stage detector of mmdet, such as '
            "'FasterRCNN', 'MaskRCNN' or 'CascadeRCNN'"
        )
    is_two_stage = issubclass(host, TwoStageDetector) and not issubclass(host, DistilledDetector)
    if not is_two_stage or host.forward_train is not TwoStageDetector.forward_train:
        raise ValueError(
            f'model.detector is {name!r}, which trains by a forward_train of its own: expected a '
            "detector that trains by mmdet's TwoStageDetector.forward_train, such as 'FasterRCNN', "
            "'MaskRCNN' or 'CascadeRCNN'"
        )
    return type(f'{distilled.__name__}{name}', (distilled, host), {'__module__': __name__})


def check_roi_head(detector: str, name: Any, level: type) -> None:
    """Check that a RoI head has the heads of a level of the pyramid.

    Args:
        detector: name of the detector's class, for the error message.
        name: name in mmdet's ``HEADS``, or a class. Unknown names are left to mmdet.
        level: ``ObjectLevel`` or ``BlockLevel``.

    Raises:
        ValueError: the RoI head is not a subclass of the level.
    """
    kind = HEADS.get(name) if isinstance(name, str) else name
    if isinstance(kind, type) and not issubclass(kind, level):
        raise ValueError(
            f'model.roi_head is {kind.__name__}, which lacks the heads of {detector}: '
            f'expected a subclass of {level.__name__} (oadp.dp.models.level_mixins), such as '
            f'{_ROI_HEADS[level]}'
        )
