"""RoI heads: the box head beside the heads that learn from CLIP.

Attribute names that begin with an underscore are keys of the released checkpoints: do not rename.
"""

__all__ = ['OADPRoIHead', 'RoIPrediction', 'ViLDEnsembleRoIHead']

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from mmdet.core import bbox2roi, multiclass_nms
from mmdet.models import HEADS
from mmdet.models.builder import build_head
from mmdet.models.roi_heads import StandardRoIHead
from torch import Tensor, nn

from oadp.dp.fusion.scores import FusionParameters, fuse_scores
from oadp.dp.models.nms import is_plain_nms, nms_settings, top_detections


class RoIPrediction(NamedTuple):
    """What the heads say of an image's n RoIs, before fusion and suppression.

    Attributes:
        boxes: (n, 4) xyxy, within the image; pixels of the original image, or of the network's
            input where no rescaling was asked for.
        bbox_logits: (n, C + 1) of the box head, background last.
        object_logits: (n, C + 1) of the object head, background −∞; None without that head.
        objectness: (n,) in [0, 1], the proposals' scores.
    """

    boxes: Tensor
    bbox_logits: Tensor
    object_logits: Tensor | None
    objectness: Tensor


@HEADS.register_module()
class ViLDEnsembleRoIHead(StandardRoIHead):
    """Box head and object head on the same RoIs (ViLD-ensemble, arXiv:2104.13921, section 3.4).

    Args:
        object_head: config of the object head; what it does not name is as in ``bbox_head``. None
            leaves it out: a detector that learns nothing from CLIP, whose score is the box head's.
        fusion: the score fusion's parameters, by name; the paper's by default.
        args, kwargs: mmdet's ``StandardRoIHead``.

    Raises:
        ValueError: fusion parameters that are not such, or without an object head.

    Attributes:
        fusion: may be set to other ``FusionParameters`` at any time.
    """

    def __init__(
        self,
        *args,
        bbox_head: Mapping[str, Any],
        object_head: Mapping[str, Any] | None = None,
        fusion: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, bbox_head=bbox_head, **kwargs)
        if fusion and object_head is None:
            raise ValueError(f'fusion={dict(fusion)}, and there is no object_head to fuse with')
        self.fusion = FusionParameters.from_mapping(fusion or {})
        self._object_head = (
            None if object_head is None else build_head({**bbox_head, **object_head})
        )

    @property
    def is_base(self) -> Tensor:
        """(C,) bool: which categories had boxes in training."""
        return self.bbox_head.fc_cls.is_base

    def set_vocabulary(
        self,
        names: Sequence[str],
        is_base: Tensor,
        bbox_embeddings: Tensor,
        object_embeddings: Tensor | None = None,
    ) -> None:
        """Detect other categories from now on.

        Args:
            names: C names, any number.
            is_base: (C,) bool: which of them the detector had boxes of in training.
            bbox_embeddings: (C, d) text embeddings, as those that the box head was trained with.
            object_embeddings: the same for the object head; None for the box head's.
        """
        heads = [(self.bbox_head, bbox_embeddings)]
        if self._object_head is not None:
            heads.append(
                (
                    self._object_head,
                    bbox_embeddings if object_embeddings is None else object_embeddings,
                )
            )
        for head, embeddings in heads:
            head.fc_cls.set_embeddings(names, embeddings, is_base)
            head.num_classes = len(names)
        if self.with_mask:
            self.mask_head.num_classes = len(names)

    def forward_train(
        self,
        x: Sequence[Tensor],
        img_metas: list[dict],
        proposal_list: list[Tensor],
        gt_bboxes: list[Tensor],
        gt_labels: list[Tensor],
        gt_bboxes_ignore: list[Tensor] | None = None,
        gt_masks: list | None = None,
        object_bboxes: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of the box head (and mask head); the object head runs, for the distillation.

        Args:
            object_bboxes: each image's (m, 4) xyxy object boxes in the network's input; None
                leaves the object head out.
        """
        losses = super().forward_train(
            x, img_metas, proposal_list, gt_bboxes, gt_labels, gt_bboxes_ignore, gt_masks
        )
        if self._object_head is not None and object_bboxes is not None:
            self._look_at(x, object_bboxes, self._object_head)
        return losses

    def _look_at(self, x: Sequence[Tensor], boxes: list[Tensor], head: nn.Module) -> Tensor:
        """A head's (n, C + 1) logits of each image's boxes, one after the other."""
        extractor = self.bbox_roi_extractor
        features = extractor(x[: extractor.num_inputs], bbox2roi(boxes))
        if len(features):
            return head(features)[0]
        # SyncBN sends its sums in float32, but in its input's type where that is empty; in fp16 a
        # process without boxes would then not agree with the others on what is sent.
        with torch.autocast(features.device.type, enabled=False):
            return head(features.float())[0]

    def predict_logits(
        self,
        x: Sequence[Tensor],
        proposals: list[Tensor],
        img_metas: list[dict],
        rescale: bool = False,
    ) -> list[RoIPrediction]:
        """What the heads say, for each image.

        Args:
            x: the pyramid's levels.
            proposals: each image's (n, 5) xyxy and objectness, in the network's input.
            img_metas: each image's ``img_shape`` and ``scale_factor``.
            rescale: whether boxes are to be in pixels of the original image.
        """
        counts = [len(p) for p in proposals]
        rois = bbox2roi(proposals)
        results = self._bbox_forward(x, rois)
        object_logits: Sequence[Tensor | None] = [None] * len(proposals)
        if self._object_head is not None:
            object_logits = self._object_head(results['bbox_feats'])[0].split(counts)
        predictions = []
        for i, (rois_, deltas, logits) in enumerate(
            zip(
                rois.split(counts),
                results['bbox_pred'].split(counts),
                results['cls_score'].split(counts),
                strict=True,
            )
        ):
            boxes, _ = self.bbox_head.get_bboxes(
                rois_,
                None,
                deltas,
                img_metas[i]['img_shape'],
                img_metas[i]['scale_factor'],
                rescale=rescale,
            )
            predictions.append(RoIPrediction(boxes, logits, object_logits[i], proposals[i][:, 4]))
        return predictions

    def score(self, prediction: RoIPrediction) -> Tensor:
        """(n, C + 1) scores, background last: the fusion, or the box head's softmax alone."""
        if prediction.object_logits is None:
            return prediction.bbox_logits.float().softmax(dim=1)
        return fuse_scores(
            prediction.bbox_logits,
            prediction.object_logits,
            self.is_base,
            self.fusion,
            objectness=prediction.objectness,
        )

    def simple_test_bboxes(
        self,
        x: Sequence[Tensor],
        img_metas: list[dict],
        proposals: list[Tensor],
        rcnn_test_cfg: Any,
        rescale: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Each image's (k, 5) detections, xyxy and score, and (k,) labels.

        As of mmdet, ``rcnn_test_cfg=None`` gives (n, 4) boxes and (n, C + 1) scores instead.
        """
        results = []
        for prediction in self.predict_logits(x, proposals, img_metas, rescale):
            boxes, scores = prediction.boxes, self.score(prediction)
            results.append(
                (boxes, scores)
                if rcnn_test_cfg is None
                else _suppress(boxes, scores, rcnn_test_cfg)
            )
        boxes, labels = zip(*results, strict=True)
        return list(boxes), list(labels)

    def aug_test_bboxes(self, *args, **kwargs) -> NoReturn:
        # mmdet's would merge the box head's scores and leave the object head out.
        raise NotImplementedError(
            'test-time augmentation is not defined for fused scores: give one scale and no flip'
        )


def _suppress(boxes: Tensor, scores: Tensor, cfg: Any) -> tuple[Tensor, Tensor]:
    if not is_plain_nms(cfg.nms):
        return multiclass_nms(boxes, scores, cfg.score_thr, cfg.nms, cfg.max_per_img)
    return top_detections(boxes, scores, **nms_settings(cfg))


@HEADS.register_module()
class OADPRoIHead(ViLDEnsembleRoIHead):
    """Box, object and block heads: the middle and the fine level of the pyramid.

    Args:
        block_head: config of the block head; what it does not name is as in ``bbox_head``. None
            leaves it out.
    """

    def __init__(
        self,
        *args,
        bbox_head: Mapping[str, Any],
        block_head: Mapping[str, Any] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, bbox_head=bbox_head, **kwargs)
        self._block_head = None if block_head is None else build_head({**bbox_head, **block_head})

    def forward_train(
        self,
        x: Sequence[Tensor],
        *args,
        block_bboxes: list[Tensor] | None = None,
        block_labels: list[Tensor] | None = None,
        **kwargs,
    ) -> dict[str, Tensor]:
        """The losses of ``ViLDEnsembleRoIHead``, and the block head's.

        Args:
            block_bboxes: each image's (m, 4) xyxy blocks in the network's input.
            block_labels: each image's (m, C) bool, which categories a block holds.

        Raises:
            ValueError: there is a block head, and the batch lacks either.
        """
        if self._block_head is None:
            return super().forward_train(x, *args, **kwargs)
        if block_bboxes is None or block_labels is None:
            raise ValueError(
                'the block head asks for block_bboxes and block_labels, which the batch lacks: '
                'LoadCLIPFeatures loads them and Collect hands them on, in the training pipeline'
            )
        losses = super().forward_train(x, *args, **kwargs)
        logits = self._look_at(x, block_bboxes, self._block_head)
        losses.update(self._block_head.loss(logits, torch.cat(block_labels)))
        return losses
