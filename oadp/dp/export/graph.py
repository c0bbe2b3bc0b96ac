"""The detector as one function of tensors that ``torch.onnx.export`` can trace.

mmdet's test code branches on shapes and on the number of boxes, which a trace would freeze, and
mmdet's own export suppresses boxes over all levels at once instead of level by level. Therefore the
steps between the layers are implemented here, with the same arithmetic and without such branches. The
layers, the classifiers and the score fusion are those of the detector.
"""

__all__ = ['DetectionGraph', 'check_exportable']

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from mmdet.core.bbox.coder import DeltaXYWHBBoxCoder
from mmdet.core.bbox.coder.delta_xywh_bbox_coder import delta2bbox
from mmdet.models import RPNHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn
from torch.nn import functional

from oadp.dp.export.suppression import suppress_levels, top_candidates, top_detections
from oadp.dp.models.nms import is_plain_nms, nms_settings
from oadp.dp.models.roi_heads import RoIPrediction, ViLDEnsembleRoIHead

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.modules.batchnorm._BatchNorm)
"""The layers that compute in half precision; everything between them stays in float32."""


def check_exportable(model: nn.Module) -> None:
    """Check that the graph computes the same as a detector.

    Raises:
        ValueError: the detector is not ViLD or OADP, or has unsupported parts or settings; the
            message lists all of them.
    """
    roi_head = getattr(model, 'roi_head', None)
    if not isinstance(roi_head, ViLDEnsembleRoIHead):
        raise ValueError(
            f'{type(model).__name__} cannot be exported: expected a ViLD or OADP detector, whose '
            'RoI head classifies by text embeddings'
        )
    faults = [*_other_kinds(model), *_other_settings(model)]
    if faults:
        raise ValueError(f'{type(model).__name__} cannot be exported: ' + '; '.join(faults))


def _other_kinds(model: Any) -> list[str]:
    roi_head = model.roi_head
    parts: list[tuple[str, Any, type]] = [
        ('rpn_head', model.rpn_head, RPNHead),
        ('rpn_head.bbox_coder', model.rpn_head.bbox_coder, DeltaXYWHBBoxCoder),
        ('roi_head.bbox_roi_extractor', roi_head.bbox_roi_extractor, SingleRoIExtractor),
        ('roi_head.bbox_head.bbox_coder', roi_head.bbox_head.bbox_coder, DeltaXYWHBBoxCoder),
    ]
    if roi_head.with_mask:
        parts += [
            ('roi_head.mask_roi_extractor', roi_head.mask_roi_extractor, SingleRoIExtractor),
            ('roi_head.mask_head', roi_head.mask_head, FCNMaskHead),
        ]
    return [
        f'{name} is a {type(part).__name__}, expected {kind.__name__}'
        for name, part, kind in parts
        if type(part) is not kind
    ]


def _other_settings(model: Any) -> list[str]:
    roi_head = model.roi_head
    found: list[tuple[str, Any, Any]] = [
        ('rpn_head.use_sigmoid_cls', model.rpn_head.use_sigmoid_cls, True),
        ('bbox_head.reg_class_agnostic', roi_head.bbox_head.reg_class_agnostic, True),
    ]
    extractors = [('bbox', roi_head.bbox_roi_extractor)]
    if roi_head.with_mask:
        found.append(('mask_head.class_agnostic', roi_head.mask_head.class_agnostic, True))
        extractors.append(('mask', roi_head.mask_roi_extractor))
    for name, extractor in extractors:
        pool_mode = getattr(extractor.roi_layers[0], 'pool_mode', None)
        found.append((f'{name}_roi_extractor.roi_layer.pool_mode', pool_mode, 'avg'))
    faults = [
        f'{name} is {value!r}, expected {want!r}' for name, value, want in found if value != want
    ]
    for name, nms in (('rpn', model.rpn_head.test_cfg.nms), ('rcnn', roi_head.test_cfg.nms)):
        if not is_plain_nms(nms):
            faults.append(f"test_cfg.{name}.nms is {dict(nms)}, expected type='nms' alone")
    return faults


class DetectionGraph(nn.Module):
    """Detect objects in one image, with one vocabulary.

    The graph modifies the model, so pass a copy.

    Args:
        model: a detector that ``check_exportable`` accepts, in evaluation mode, on the CPU.
        divisor: height and width are padded to multiples of this number, as in the config's
            pipeline.
        fp16: compute convolutions and linear layers in half precision.
    """

    def __init__(self, model: Any, divisor: int, fp16: bool = False) -> None:
        super().__init__()
        check_exportable(model)
        self.model = model
        self._divisor = divisor
        self._fp16 = fp16
        self._suppression = nms_settings(model.roi_head.test_cfg)
        if fp16:
            for module in model.modules():
                if isinstance(module, _LAYERS):
                    module.half()

    def forward(
        self,
        image: Tensor,
        bbox_embeddings: Tensor,
        object_embeddings: Tensor | None,
        is_base: Tensor,
    ) -> tuple[Tensor, ...]:
        """Detect objects.

        Args:
            image: (1, 3, h, w), resized and normalized, not padded.
            bbox_embeddings: (K, d) text embeddings for the box head.
            object_embeddings: the same for the object head; None if there is no object head.
            is_base: (K,) bool.

        Returns:
            (k, 4) boxes xyxy in pixels of ``image``, (k,) scores in descending order, (k,) int64
            labels, and with a mask head (k, m, m) mask probabilities within the boxes.
        """
        roi_head = self.model.roi_head
        roi_head.set_vocabulary(
            range(bbox_embeddings.shape[0]), is_base, bbox_embeddings, object_embeddings
        )
        size_hw = image.shape[2], image.shape[3]
        features = self._full(self.model.extract_feat(self._half(self._pad(image))))
        proposals, objectness = self._propose(features, size_hw)
        prediction = self._predict(features, proposals, objectness, size_hw)
        scores = roi_head.score(prediction)[:, :-1]
        roi, labels, best = top_detections(
            prediction.boxes,
            scores,
            self._suppression['iou_threshold'],
            self._suppression['score_threshold'],
            self._suppression['max_per_image'],
        )
        boxes = prediction.boxes[roi]
        if not roi_head.with_mask:
            return boxes, best, labels
        return boxes, best, labels, self._masks(features, boxes)

    def _pad(self, image: Tensor) -> Tensor:
        h, w = image.shape[2], image.shape[3]
        return functional.pad(image, (0, -w % self._divisor, 0, -h % self._divisor))

    def _propose(
        self, features: Sequence[Tensor], size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return (n, 4) xyxy and (n,) objectness, as ``RPNHead.simple_test_rpn`` does."""
        head = self.model.rpn_head
        settings = head.test_cfg
        logits, deltas = head(self._half(features))
        boxes, scores, levels = [], [], []
        for i, (level_logits, level_deltas) in enumerate(
            zip(self._full(logits), self._full(deltas), strict=True)
        ):
            level_scores = level_logits[0].permute(1, 2, 0).reshape(-1).sigmoid()
            best, index = top_candidates(level_scores, settings.get('nms_pre', -1))
            decoded = _decode(
                head.bbox_coder,
                self._anchors(i, level_logits)[index],
                level_deltas[0].permute(1, 2, 0).reshape(-1, 4)[index],
                size_hw,
            )
            boxes.append(decoded)
            scores.append(best)
            levels.append(torch.full_like(best, i))
        return suppress_levels(
            torch.cat(boxes),
            torch.cat(scores),
            torch.cat(levels),
            float(settings.nms.iou_threshold),
            float(settings.min_bbox_size),
            int(settings.max_per_img),
        )

    def _anchors(self, level: int, like: Tensor) -> Tensor:
        """Return (h · w · anchors, 4) xyxy, in the order of the logits."""
        generator = self.model.rpn_head.prior_generator
        base = generator.base_anchors[level].to(like)
        stride_w, stride_h = generator.strides[level]
        h, w = like.shape[2], like.shape[3]
        x = torch.arange(w, dtype=like.dtype) * stride_w
        y = torch.arange(h, dtype=like.dtype) * stride_h
        x, y = x[None, :].expand(h, w), y[:, None].expand(h, w)
        return (torch.stack([x, y, x, y], dim=-1)[:, :, None] + base).reshape(-1, 4)

    def _predict(
        self,
        features: Sequence[Tensor],
        proposals: Tensor,
        objectness: Tensor,
        size_hw: tuple[int, int],
    ) -> RoIPrediction:
        roi_head = self.model.roi_head
        pooled = self._half(_pool(roi_head.bbox_roi_extractor, features, proposals))
        logits, deltas = roi_head.bbox_head(pooled)
        boxes = _decode(roi_head.bbox_head.bbox_coder, proposals, deltas.float(), size_hw)
        object_logits = None
        if roi_head._object_head is not None:
            object_logits, _ = roi_head._object_head(pooled)
        return RoIPrediction(boxes, logits, object_logits, objectness)

    def _masks(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        roi_head = self.model.roi_head
        pooled = _pool(roi_head.mask_roi_extractor, features, boxes)
        return roi_head.mask_head(self._half(pooled))[:, 0].float().sigmoid()

    def _half(self, x: Any) -> Any:
        return _cast(x, torch.half) if self._fp16 else x

    def _full(self, x: Any) -> Any:
        return _cast(x, torch.float) if self._fp16 else x


def _cast(x: Tensor | Sequence[Tensor], dtype: torch.dtype) -> Tensor | tuple[Tensor, ...]:
    return x.to(dtype) if isinstance(x, Tensor) else tuple(level.to(dtype) for level in x)


def _decode(coder: Any, rois: Tensor, deltas: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Decode boxes as ``coder.decode`` does, with an image size that is an input of the graph."""
    boxes = delta2bbox(
        rois,
        deltas,
        coder.means,
        coder.stds,
        None,
        16 / 1000,
        coder.clip_border,
        coder.add_ctr_clamp,
        coder.ctr_clamp,
    )
    if not coder.clip_border:
        return boxes
    h, w = (torch.as_tensor(side).to(boxes) for side in size_hw)
    x = torch.minimum(boxes[:, 0::2].clamp(min=0), w)
    y = torch.minimum(boxes[:, 1::2].clamp(min=0), h)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


def _pool(extractor: SingleRoIExtractor, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Return (n, c, s, s) features of (n, 4) boxes, each from the level for its size."""
    rois = functional.pad(boxes, (1, 0))  # the index of the image, 0
    levels = extractor.map_roi_levels(rois, extractor.num_inputs)
    pooled, order = [], []
    for i, layer in enumerate(extractor.roi_layers):
        index = (levels == i).nonzero()[:, 0]
        pooled.append(
            torchvision.ops.roi_align(
                features[i],
                rois[index],
                layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
        )
        order.append(index)
    return torch.cat(pooled)[torch.cat(order).argsort()]
