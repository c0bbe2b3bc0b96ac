"""RoI heads of mmdet with the object level, or the object and block levels, of the pyramid.

Attribute names that begin with an underscore are keys of the released checkpoints: do not rename.
"""

__all__ = [
    'OADPCascadeRoIHead',
    'OADPRoIHead',
    'RoIPrediction',
    'ViLDCascadeRoIHead',
    'ViLDEnsembleRoIHead',
]

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from mmdet.core import bbox2result
from mmdet.models import HEADS
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from torch import Tensor

from oadp.dp.models.level_mixins import BlockLevel, ObjectLevel
from oadp.dp.models.predictions import RoIPrediction


@HEADS.register_module()
class ViLDEnsembleRoIHead(ObjectLevel, StandardRoIHead):
    """Box head and object head on the same RoIs."""


@HEADS.register_module()
class OADPRoIHead(BlockLevel, ViLDEnsembleRoIHead):
    """Box head, object head and block head."""


@HEADS.register_module()
class ViLDCascadeRoIHead(ObjectLevel, CascadeRoIHead):
    """Cascade R-CNN (arXiv:1712.00726), its box heads classifying by text embeddings, and an object head.

    As in mmdet, the logits of the box heads are averaged over the stages. The object head runs on the
    RoIs of the last stage.

    Args:
        args: arguments of mmdet's ``CascadeRoIHead``.
        kwargs: arguments of mmdet's ``CascadeRoIHead`` and of ``ObjectLevel``.

    Raises:
        ValueError: there is a ``mask_head``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('mask_head') is not None:
            raise ValueError(
                f'{type(self).__name__}: expected no mask_head, as masks are not predicted by a '
                "cascade; set mask_head=None, or type='OADPRoIHead' for masks"
            )
        super().__init__(*args, **kwargs)

    def _run_box_heads(
        self, x: Sequence[Tensor], rois: Tensor, img_metas: list[dict], counts: list[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = []
        results: dict[str, Tensor] = {}
        for stage in range(self.num_stages):
            if stage:
                labels = results['cls_score'][:, :-1].argmax(dim=1)  # of the stage before
                pieces = zip(
                    rois.split(counts),
                    labels.split(counts),
                    results['bbox_pred'].split(counts),
                    img_metas,
                    strict=True,
                )
                refine = self.bbox_head[stage - 1].regress_by_class
                rois = torch.cat([refine(*piece) for piece in pieces])
            results = self._bbox_forward(stage, x, rois)
            logits.append(results['cls_score'])
        return rois, {**results, 'cls_score': torch.stack(logits).mean(dim=0)}

    def simple_test(
        self,
        x: Sequence[Tensor],
        proposal_list: list[Tensor],
        img_metas: list[dict],
        rescale: bool = False,
    ) -> list[list[np.ndarray]]:
        """Return each image's detections: by category, (k, 5) xyxy and score."""
        boxes, labels = self.simple_test_bboxes(
            x, img_metas, proposal_list, self.test_cfg, rescale=rescale
        )
        count = self.box_head.num_classes
        return [bbox2result(*found, count) for found in zip(boxes, labels, strict=True)]

    def aug_test(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse test-time augmentation, see ``ObjectLevel.aug_test_bboxes``."""
        self.aug_test_bboxes()


@HEADS.register_module()
class OADPCascadeRoIHead(BlockLevel, ViLDCascadeRoIHead):
    """A cascade of box heads, object head and block head."""
