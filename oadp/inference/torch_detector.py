"""A ``Detector`` that runs in torch, with the modules that are trained and evaluated.

It runs the modules of ``oadp.dp.test``, in the same order and with the config's test pipeline, so its
detections are those that are evaluated, up to rounding: on a CPU, tensors have another memory layout. A
vocabulary replaces only the matrices of the two classifiers.
"""

__all__ = ['Detector', 'TorchDetector']

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from oadp.categories import Categories, get_categories
from oadp.clip.weights import CLIP_PATH
from oadp.compat import quiet_imports
from oadp.dp.engine.checkpoints import load_detector
from oadp.dp.models.detectors import ViLD
from oadp.inference.detector import Detector, Found
from oadp.inference.text_embedder import TextEmbedder
from oadp.inference.vocabulary import PromptRows
from oadp.utils.config import load_config, section, to_plain

with quiet_imports():
    from mmdet.datasets import replace_ImageToTensor
    from mmdet.datasets.pipelines import Compose


def _device(name: str | torch.device) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as e:
        raise ValueError(f'unknown device {name!r}; expected cpu, cuda or cuda:1') from e


class TorchDetector(Detector):
    """A ``Detector`` that runs in torch; created by ``Detector.from_checkpoint``."""

    def __init__(
        self,
        model: nn.Module,
        pipeline: Sequence[Mapping[str, Any]],
        categories: Categories,
        embed: Callable[[Sequence[str]], Tensor],
    ) -> None:
        """Create a detector.

        Args:
            model: a detector of ``build_detector`` with its weights, in evaluation mode.
            pipeline: the config's test pipeline.
            categories: the category set of the training.
            embed: return (m, d) text embeddings of m names that are not in the prompt files.
        """
        roi_head: Any = model.roi_head
        heads = (roi_head.box_head, roi_head._object_head)
        rows = [PromptRows.load(head.fc_cls.prompts) for head in heads if head is not None]
        super().__init__(model, categories, rows, embed)
        self._device = next(model.parameters()).device
        self._transform = Compose(_from_memory(pipeline))

    @classmethod
    def load(
        cls,
        config: str | os.PathLike | Mapping[str, Any],
        checkpoint: str | os.PathLike,
        *,
        device: str | torch.device | None = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
    ) -> 'TorchDetector':
        """See ``Detector.from_checkpoint``."""
        if isinstance(config, (str, os.PathLike)):
            config = load_config(config)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        device = _device(device)
        plain = to_plain(config)
        section(plain, '.model')
        plain['model']['distiller'] = None  # It hooks modules only for training.
        model = load_detector(plain, checkpoint, torch.device(device))
        if not isinstance(model, ViLD):
            raise ValueError(
                f'{type(model).__name__} has no classifier of text embeddings; expected the config '
                'of a ViLD or OADP detector'
            )
        if device.type == 'cpu':
            # The layout that convolutions on CPUs use inside: about 1.2 times as fast (docs/detect.md).
            model = model.to(memory_format=torch.channels_last)
        return cls(
            model.requires_grad_(False),
            plain['validator']['dataloader']['dataset']['pipeline'],
            get_categories(plain['categories']),
            TextEmbedder(clip or plain.get('clip') or CLIP_PATH, cache, device),
        )

    def _bind(
        self, names: Sequence[str], is_base: np.ndarray, matrices: Sequence[np.ndarray]
    ) -> nn.Module:
        own = self._own.model
        tensors = (*own.parameters(), *own.buffers())
        model = copy.deepcopy(own, {id(tensor): tensor for tensor in tensors})
        model.roi_head.set_vocabulary(
            names, torch.from_numpy(is_base), *map(torch.from_numpy, matrices)
        )
        return model

    @torch.no_grad()
    def _detect(
        self,
        model: nn.Module,
        image: np.ndarray,
        score_threshold: float,
        max_detections: int | None,
    ) -> Found:
        img, meta = self._prepare(image)
        roi_head: Any = model.roi_head
        settings = copy.copy(roi_head.test_cfg)
        settings.score_thr = max(settings.score_thr, score_threshold)
        if max_detections is not None:
            settings.max_per_img = min(settings.max_per_img, max_detections)
        masks = None
        # `load_detector` sets it on a GPU as for evaluation.
        half = getattr(model, 'fp16_enabled', False)
        with torch.autocast(self._device.type, enabled=half):
            features = model.extract_feat(img)
            proposals = model.rpn_head.simple_test_rpn(features, [meta])
            boxes, labels = roi_head.simple_test_bboxes(
                features, [meta], proposals, settings, rescale=True
            )
            if roi_head.with_mask:
                [by_class] = roi_head.simple_test_mask(
                    features, [meta], boxes, labels, rescale=True
                )
                masks = _in_order(by_class, labels[0], meta['ori_shape'])
        rows = boxes[0].cpu().numpy()
        return Found(rows[:, :4], rows[:, 4], labels[0].cpu().numpy(), masks)

    def _prepare(self, image: np.ndarray) -> tuple[Tensor, dict[str, Any]]:
        """Return the network's input, (1, 3, h, w), and mmdet's metadata of the image."""
        # mmdet's pipelines expect BGR images.
        bgr = np.ascontiguousarray(image[..., ::-1])
        try:
            data = self._transform({'img': bgr})
        except cv2.error as e:  # the resized image would have a side of 0 pixels
            h, w = image.shape[:2]
            raise ValueError(f'an image of {w} × {h} pixels is too narrow for the detector') from e
        [img], [meta] = data['img'], data['img_metas']
        return img.data[None].to(self._device), meta.data


def _from_memory(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a test pipeline that takes the image from its input in place of a file."""
    first, *others = map(dict, pipeline)
    if first['type'] not in ('LoadImageFromFile', 'ReadImage'):
        raise ValueError(
            f'expected a test pipeline that starts with LoadImageFromFile; found {first["type"]}'
        )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # It warns about the change that it makes.
        return replace_ImageToTensor([{**first, 'type': 'LoadImageFromWebcam'}, *others])


def _in_order(
    by_class: list[list[np.ndarray]], labels: Tensor, shape: tuple[int, ...]
) -> np.ndarray:
    """Convert mmdet's lists of masks by class to (k, h, w) bool in the order of the detections."""
    queues = [iter(masks) for masks in by_class]
    masks = [next(queues[label]) for label in labels.tolist()]
    return np.array(masks, dtype=bool).reshape(len(masks), *shape[:2])
