"""Compute the zero-shot accuracy of CLIP features and detector heads on ground-truth boxes.

With given boxes, only the classification is measured. This takes minutes and shows whether
features, prompts, crops and temperatures are good before a detector is trained.
"""

__all__ = ['COVER_IOU', 'Tally', 'probe_detector', 'probe_features', 'prompts_of']

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oadp.data.boxes import any_overlap
from oadp.dp.engine.predict import visit_images
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.matching import pairwise_iou
from oadp.dp.models.classifiers import load_prompts
from oadp.utils.progress import Progress
from oadp.utils.runtime import ProcessInfo

COVER_IOU = 0.5
"""The lowest IoU at which a stored object box represents an object; the highest IoU decides."""

_KINDS = dict(objects='CLIP, objects', blocks='CLIP, blocks', globals='CLIP, image')


@dataclasses.dataclass
class Tally:
    """Count how often each of C classes is predicted correctly.

    Attributes:
        right, total: (C,) int64, the correct predictions and all of them. They count objects, or
            pairs of a region (a block or an image) and a class in it.
        covered: the fraction of the objects that a stored box represents; None if all objects are
            counted.
    """

    right: np.ndarray
    total: np.ndarray
    covered: float | None = None

    @classmethod
    def empty(cls, num_categories: int) -> 'Tally':
        """Return a tally with all counts 0."""
        return cls(np.zeros(num_categories, np.int64), np.zeros(num_categories, np.int64))

    def add_single(self, labels: np.ndarray, named: np.ndarray) -> None:
        """Count objects, each of one class.

        Args:
            labels: (n,) the true classes.
            named: (n,) the predicted classes.
        """
        np.add.at(self.total, labels, 1)
        np.add.at(self.right, labels[labels == named], 1)

    def add_multiple(self, present: np.ndarray, scores: np.ndarray) -> None:
        """Count regions that contain k ≥ 0 classes each.

        A class is correct if it is among the k highest scores.

        Args:
            present: (n, C) bool, the classes in each region.
            scores: (n, C).
        """
        rank = (-scores).argsort(1, kind='stable').argsort(1, kind='stable')
        right = present & (rank < present.sum(1, keepdims=True))
        self.total += present.sum(0)
        self.right += right.sum(0)

    def accuracy(self, labels: slice) -> float:
        """Return the accuracy over some classes, or −1 if nothing was counted."""
        total = self.total[labels].sum()
        return float(self.right[labels].sum() / total) if total else -1.0

    def by_class(self) -> np.ndarray:
        """Return the (C,) accuracies of the classes, or −1 where nothing was counted."""
        return np.where(self.total > 0, self.right / np.maximum(self.total, 1), -1.0)


def prompts_of(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the prompt files that a detector's config names, by type of features.

    Args:
        model: the config of the detector. A missing head has the prompts of the box head.
    """
    roi_head = model['roi_head']

    def of_head(name: str) -> str:
        head = {**roi_head['bbox_head'], **(roi_head.get(name) or {})}
        return head['cls_predictor_cfg']['prompts']

    classifier = (model.get('global_head') or {}).get('classifier') or {}
    return dict(
        objects=of_head('object_head'),
        blocks=of_head('block_head'),
        globals=classifier.get('prompts') or of_head('block_head'),
    )


def _image_objects(truth: GroundTruth) -> list[np.ndarray]:
    """Return the rows of objects of each image, except crowds and objects that LVIS ignores."""
    objects = truth.objects
    rows = np.flatnonzero(~objects.crowd & (objects.areas >= 0))
    rows = rows[np.argsort(objects.images[rows], kind='stable')]
    bounds = np.searchsorted(objects.images[rows], np.arange(len(truth.image_ids) + 1))
    return [rows[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def probe_features(
    truth: GroundTruth, sources: Mapping[str, Any], prompts: Mapping[str, str]
) -> tuple[dict[str, Tally], list[str]]:
    """Classify CLIP's stored features by the embeddings of the class names.

    The predicted class of an object is the one most similar to its stored box. For a block or an
    image with k classes in it, the k most similar classes are predicted.

    Args:
        truth: the ground truth.
        sources: ``LoadCLIPFeatures.sources``, by type of features.
        prompts: the prompt files by type of features.

    Returns:
        The tallies by name, and the types of features that no image has.

    Raises:
        ValueError: the dimensions of features and prompts differ.
    """
    tallies, absent = {}, []
    rows, names = _image_objects(truth), truth.categories.all_
    for kind in (k for k in _KINDS if k in sources):
        source = sources[kind]
        present = [i for i, image_id in enumerate(truth.image_ids) if source.has(image_id)]
        if not present:
            absent.append(kind)
            continue
        text = F.normalize(load_prompts(prompts[kind], names).embeddings.float(), dim=1)
        tally, covered = Tally.empty(len(names)), 0
        with Progress(len(present), f'probe {kind}', 'images') as progress:
            for i in present:
                record = source.read(truth.image_ids[i])
                xywh, labels = truth.objects.boxes[rows[i]], truth.objects.labels[rows[i]]
                covered += _add_record(tally, kind, record, xywh, labels, text, prompts[kind])
                progress.update()
        if kind == 'objects':
            tally.covered = covered / max(1, sum(len(rows[i]) for i in present))
        tallies[_KINDS[kind]] = tally
    return tallies, absent


def _add_record(
    tally: Tally,
    kind: str,
    record: Any,
    xywh: np.ndarray,
    labels: np.ndarray,
    text: Tensor,
    file: str,
) -> int:
    """Count one image, and return the number of objects that stored boxes represent."""
    embeddings = (record[None] if kind == 'globals' else record['embeddings']).float()
    if embeddings.shape[1] != text.shape[1]:
        raise ValueError(
            f'features of {kind} have {embeddings.shape[1]} dimensions, and the prompts of {file} '
            f'{text.shape[1]}; give the prompts of the same CLIP with --prompts'
        )
    scores = (F.normalize(embeddings, dim=1) @ text.T).numpy()
    if kind == 'globals':
        tally.add_multiple(np.isin(np.arange(len(text)), labels)[None], scores)
        return 0
    boxes = record['bboxes'].float()
    if kind == 'blocks':
        xyxy = torch.from_numpy(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1))
        overlaps = any_overlap(boxes, xyxy.float()).numpy()
        one_hot = np.eye(len(text), dtype=bool)[labels]
        tally.add_multiple((overlaps[:, :, None] & one_hot[None]).any(1), scores)
        return 0
    if not len(boxes) or not len(xywh):
        return 0
    iou = pairwise_iou(boxes.numpy(), xywh, np.zeros(len(xywh), bool))
    kept = iou.max(0) >= COVER_IOU
    tally.add_single(labels[kept], scores.argmax(1)[iou.argmax(0)[kept]])
    return int(kept.sum())


def probe_detector(
    detector: nn.Module, loader: Any, truth: GroundTruth, device: torch.device
) -> dict[str, Tally]:
    """Classify the ground-truth boxes by each head of a detector.

    The background is excluded. Scores are fused as in the detector, with an objectness of 1.

    Args:
        detector: on ``device``, in evaluation mode.
        loader: of ``build_val_loader``, on the images of ``truth`` in the order of its file.
        truth: the ground truth.
        device: the device to compute on.
    """
    tallies: dict[str, Tally] = {}
    rows, num_all = _image_objects(truth), truth.categories.num_all
    positions = {image_id: i for i, image_id in enumerate(truth.image_ids)}
    half = getattr(detector, 'fp16_enabled', False)

    def extract(batch: dict[str, Any]) -> tuple[Sequence[Tensor], list[dict]]:
        with torch.autocast(device.type, dtype=torch.float16) if half else nullcontext():
            return detector.extract_feat(batch['img'][0]), batch['img_metas'][0]

    def count(index: int, extracted: tuple[Sequence[Tensor], list[dict]]) -> None:
        mine = rows[positions[truth.images_in_file_order[index]]]
        xywh, labels = truth.objects.boxes[mine], truth.objects.labels[mine]
        for name, logits in _head_logits(detector, *extracted, xywh).items():
            tally = tallies.setdefault(f'detector, {name}', Tally.empty(num_all))
            scores = logits[:, :num_all].float().cpu().numpy()
            if name == 'image head':
                tally.add_multiple(np.isin(np.arange(num_all), labels)[None], scores)
            elif len(labels):
                tally.add_single(labels, scores.argmax(1))

    world = ProcessInfo(rank=0, local_rank=0, size=1, device=device)
    visit_images(loader, extract, count, world, 'probe the detector')
    return tallies


def _head_logits(
    detector: nn.Module, features: Sequence[Tensor], metas: list[dict], xywh: np.ndarray
) -> dict[str, Tensor]:
    """Return (n, C or C + 1) logits or scores of n boxes by head; (1, C) for the image head."""
    scale = np.asarray(metas[0]['scale_factor'], np.float32)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).astype(np.float32) * scale
    boxes = torch.from_numpy(xyxy).to(features[0])
    roi_head, logits = detector.roi_head, {}
    if len(boxes):
        proposals = [torch.cat([boxes, boxes.new_ones(len(boxes), 1)], 1)]
        (prediction,) = roi_head.predict_logits(features, proposals, metas)
        logits['box head'] = prediction.bbox_logits
        if prediction.object_logits is not None:
            logits['object head'] = prediction.object_logits
        if getattr(roi_head, '_block_head', None) is not None:
            logits['block head'] = roi_head._look_at(features, [boxes], roi_head._block_head)
        if prediction.object_logits is not None:
            logits['fused'] = roi_head.score(prediction)
    if getattr(detector, '_global_head', None) is not None:
        logits['image head'] = detector._global_head(features)
    return logits
