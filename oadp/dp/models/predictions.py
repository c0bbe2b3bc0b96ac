"""Predictions of the box head and the object head: fused scores, and suppression of duplicates."""

__all__ = ['FusedPrediction', 'RoIPrediction', 'stages']

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from mmdet.core import bbox2roi, multiclass_nms
from torch import Tensor, nn

from oadp.dp.fusion.scores import FusionParameters, fuse_scores
from oadp.dp.models.nms import is_plain_nms, nms_settings, top_detections


class RoIPrediction(NamedTuple):
    """The outputs of the heads for an image's n RoIs, before score fusion and suppression.

    Attributes:
        boxes: (n, 4) xyxy, within the image; pixels of the original image, or of the network's
            input without rescaling.
        bbox_logits: (n, C + 1) of the box head, background last.
        object_logits: (n, C + 1) of the object head, background −∞; None without that head.
        objectness: (n,) in [0, 1], the scores of the proposals.
    """

    boxes: Tensor
    bbox_logits: Tensor
    object_logits: Tensor | None
    objectness: Tensor


def stages(part: Any) -> list[Any]:
    """Return the modules of a cascade's stages, or the one module of other RoI heads."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


class FusedPrediction:
    """Detect with the scores of a box head and an object head, as a mixin for RoI heads of mmdet.

    Attributes:
        fusion: parameters of the score fusion.
    """

    bbox_head: Any
    fusion: FusionParameters
    _object_head: nn.Module | None
    _bbox_forward: Any

    @property
    def box_head(self) -> Any:
        """The box head; of a cascade, that of the last stage."""
        return stages(self.bbox_head)[-1]

    @property
    def is_base(self) -> Tensor:
        """(C,) bool: which categories had boxes in training."""
        return self.box_head.fc_cls.is_base

    def predict_logits(
        self,
        x: Sequence[Tensor],
        proposals: list[Tensor],
        img_metas: list[dict],
        rescale: bool = False,
    ) -> list[RoIPrediction]:
        """Return the outputs of the heads for each image.

        Args:
            x: the feature levels.
            proposals: each image's (n, 5) xyxy and objectness, in the network's input.
            img_metas: each image's ``img_shape`` and ``scale_factor``.
            rescale: whether to return boxes in pixels of the original image.
        """
        counts = [len(p) for p in proposals]
        rois, results = self._run_box_heads(x, bbox2roi(proposals), img_metas, counts)
        object_logits: Sequence[Tensor | None] = [None] * len(proposals)
        if self._object_head is not None:
            object_logits = list(self._object_head(results['bbox_feats'])[0].split(counts))
        predictions = []
        for i, (image_rois, deltas, logits) in enumerate(
            zip(
                rois.split(counts),
                results['bbox_pred'].split(counts),
                results['cls_score'].split(counts),
                strict=True,
            )
        ):
            boxes, _ = self.box_head.get_bboxes(
                image_rois,
                None,
                deltas,
                img_metas[i]['img_shape'],
                img_metas[i]['scale_factor'],
                rescale=rescale,
            )
            predictions.append(RoIPrediction(boxes, logits, object_logits[i], proposals[i][:, 4]))
        return predictions

    def _run_box_heads(
        self, x: Sequence[Tensor], rois: Tensor, img_metas: list[dict], counts: list[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the RoIs of the (last) box head, and its outputs as mmdet names them."""
        return rois, self._bbox_forward(x, rois)

    def score(self, prediction: RoIPrediction) -> Tensor:
        """Return (n, C + 1) scores, background last: the fusion, or the box head's softmax alone."""
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
        """Return each image's (k, 5) detections, xyxy and score, and their (k,) labels.

        As in mmdet, ``rcnn_test_cfg=None`` returns (n, 4) boxes and (n, C + 1) scores instead.
        """
        results = []
        for prediction in self.predict_logits(x, proposals, img_metas, rescale):
            boxes, scores = prediction.boxes, self.score(prediction)
            results.append(
                (boxes, scores)
                if rcnn_test_cfg is None
                else _suppress(boxes, scores, rcnn_test_cfg)
            )
        boxes_by_image, labels_by_image = zip(*results, strict=True)
        return list(boxes_by_image), list(labels_by_image)

    def aug_test_bboxes(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse test-time augmentation.

        Raises:
            NotImplementedError: always. mmdet's would merge the scores of the box head and leave the
                object head out.
        """
        raise NotImplementedError(
            'test-time augmentation is not defined for fused scores: give one scale and no flip'
        )


def _suppress(boxes: Tensor, scores: Tensor, cfg: Any) -> tuple[Tensor, Tensor]:
    if not is_plain_nms(cfg.nms):
        return multiclass_nms(boxes, scores, cfg.score_thr, cfg.nms, cfg.max_per_img)
    return top_detections(boxes, scores, **nms_settings(cfg))
