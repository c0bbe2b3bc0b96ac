"""The detector as a Python object: an image and words in, ``supervision.Detections`` out.

    from oadp import Detector

    detector = Detector.from_checkpoint('configs/dp/oadp_ov_coco.py', 'oadp_ov_coco.pth')
    detector.set_vocabulary(['red kite', 'mug'])
    detections = detector('photo.jpg', score_threshold=0.3)

It runs the modules that ``oadp.dp.test`` runs, in the same order and with the config's own test
pipeline, so that its detections are those that were evaluated. A vocabulary replaces the matrices
of the two classifiers and nothing else.
"""

__all__ = ['Detector']

import copy
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import supervision
import torch
from torch import Tensor, nn

from .categories import Categories, get_categories
from .clip_model import CLIP_PATH
from .compat import quiet_imports
from .config import load_config, to_plain
from .data.images import Image, to_array
from .dp.checkpoints import load_detector
from .dp.detectors import ViLD
from .text_embedder import TextEmbedder
from .vocabulary import PromptRows, clean_names, loosen

with quiet_imports():
    from mmdet.datasets import replace_ImageToTensor
    from mmdet.datasets.pipelines import Compose


@dataclasses.dataclass(frozen=True)
class _View:
    """A vocabulary and the model that detects it. Never changed, so that threads may share it."""

    names: tuple[str, ...]
    is_base: np.ndarray
    model: nn.Module


class Detector:
    """Detects what it is given the names of.

    Made by ``from_checkpoint``. It may be called from several threads at once; those that want
    vocabularies of their own take a detector each from ``with_vocabulary``, which costs no memory to
    speak of.
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Sequence[Mapping[str, Any]],
        categories: Categories,
        embed: Callable[[Sequence[str]], Tensor],
    ) -> None:
        """
        Args:
            model: what ``build_detector`` gives, loaded, on its device, in evaluation mode.
            pipeline: the config's test pipeline.
            categories: the category set of the training.
            embed: gives (m, d) text embeddings of m names that the prompt files lack.
        """
        is_base = np.arange(categories.num_all) < categories.num_bases
        self._own = self._view = _View(categories.all_, is_base, model)
        self._categories = categories
        self._embed = embed
        self._device = next(model.parameters()).device
        self._transform = Compose(_from_memory(pipeline))
        heads = (model.roi_head.bbox_head, model.roi_head._object_head)
        self._rows = [PromptRows.load(head.fc_cls.prompts) for head in heads if head is not None]

    @classmethod
    def from_checkpoint(
        cls,
        config: str | os.PathLike | Mapping[str, Any],
        checkpoint: str | os.PathLike,
        *,
        device: str | torch.device | None = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
    ) -> 'Detector':
        """Build the detector of a config and load its weights.

        Args:
            config: a config file, or what ``load_config`` made of one. Paths in it are relative to
                the current directory; of its data, only the prompt files are needed.
            checkpoint: of that config, as ``oadp.dp.train`` wrote it or as released.
            device: the GPU by default, where there is one.
            clip: weights of the CLIP that taught the detector, for names that the prompt files lack;
                by default the config's ``clip``, or OpenAI's ViT-B/32 where the README puts it. Not
                read before such a name comes.
            cache: where to keep text embeddings; the user's cache folder by default.

        Raises:
            FileNotFoundError: the config, the checkpoint or a prompt file is not there.
            ValueError: the checkpoint is not one of this config.
        """
        if isinstance(config, (str, os.PathLike)):
            config = load_config(config)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        plain = to_plain(config)
        plain['model']['distiller'] = None  # It hooks modules for training alone.
        model = load_detector(plain, checkpoint, torch.device(device))
        if not isinstance(model, ViLD):
            raise ValueError(
                f'{type(model).__name__} has no classifier of text embeddings; expected the config '
                'of a ViLD or OADP detector'
            )
        return cls(
            model.requires_grad_(False),
            plain['validator']['dataloader']['dataset']['pipeline'],
            get_categories(plain['categories']),
            TextEmbedder(clip or plain.get('clip') or CLIP_PATH, cache, device),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The C names that are detected; a name's position is its ``class_id``."""
        return self._view.names

    @property
    def is_base(self) -> np.ndarray:
        """(C,) bool: which of the names are classes with boxes in training."""
        return self._view.is_base

    def set_vocabulary(self, names: Iterable[str] | None) -> None:
        """Detect these names from now on.

        A name that a prompt file has keeps its row there, any other gets the text embedding of
        ViLD's templates (see ``PromptRows.matrix``). Names of base classes keep the fusion exponents
        of base classes; all others have those of novel ones.

        Args:
            names: what to detect; None for the classes of the config. Empty names and repetitions
                are left out, with a warning.

        Raises:
            ValueError: over-long names, or none.
            FileNotFoundError: a new name, and no weights of CLIP.
        """
        self._view = self._own if names is None else self._make_view(clean_names(names))

    def with_vocabulary(self, names: Iterable[str] | None) -> 'Detector':
        """A second detector with a vocabulary of its own, on the same weights.

        Args and errors are those of ``set_vocabulary``; this detector stays as it is.
        """
        other = copy.copy(self)
        other.set_vocabulary(names)
        return other

    def _make_view(self, names: list[str]) -> _View:
        matrices = [rows.matrix(names, self._embed) for rows in self._rows]
        bases = {loosen(name) for name in self._categories.bases}
        is_base = np.array([loosen(name) in bases for name in names])
        own = self._own.model
        tensors = (*own.parameters(), *own.buffers())
        model = copy.deepcopy(own, {id(tensor): tensor for tensor in tensors})
        model.roi_head.set_vocabulary(names, torch.from_numpy(is_base), *matrices)
        return _View(tuple(names), is_base, model)

    @torch.no_grad()
    def __call__(
        self,
        image: Image,
        score_threshold: float = 0.0,
        max_detections: int | None = None,
    ) -> supervision.Detections:
        """Detect.

        Args:
            image: a file, a PIL image, or an (h, w, 3) uint8 array, RGB.
            score_threshold: only detections that score higher.
            max_detections: at most so many, the best; the config's number (300) by default.

        Returns:
            k detections by falling score: ``xyxy`` (k, 4) float32 in pixels of the image,
            ``confidence`` (k,), ``class_id`` (k,), ``mask`` (k, h, w) bool where the model has
            masks, and in ``data`` the ``class_name`` and ``is_base`` of each.

        Raises:
            FileNotFoundError, ValueError, TypeError: not such an image.
        """
        view = self._view
        img, meta = self._prepare(to_array(image))
        roi_head = view.model.roi_head
        settings = copy.copy(roi_head.test_cfg)
        settings.score_thr = max(settings.score_thr, score_threshold)
        if max_detections is not None:
            settings.max_per_img = min(settings.max_per_img, max_detections)
        masks = None
        # On a GPU, `load_detector` may have set it, as for evaluation.
        half = getattr(view.model, 'fp16_enabled', False)
        with torch.autocast(self._device.type, enabled=half):
            features = view.model.extract_feat(img)
            proposals = view.model.rpn_head.simple_test_rpn(features, [meta])
            boxes, labels = roi_head.simple_test_bboxes(
                features, [meta], proposals, settings, rescale=True
            )
            if roi_head.with_mask:
                [by_class] = roi_head.simple_test_mask(
                    features, [meta], boxes, labels, rescale=True
                )
                masks = _in_order(by_class, labels[0], meta['ori_shape'])
        class_id = labels[0].cpu().numpy()
        return supervision.Detections(
            xyxy=boxes[0][:, :4].cpu().numpy(),
            confidence=boxes[0][:, 4].cpu().numpy(),
            class_id=class_id,
            mask=masks,
            data={
                'class_name': np.array(view.names)[class_id],
                'is_base': view.is_base[class_id],
            },
        )

    def _prepare(self, image: np.ndarray) -> tuple[Tensor, dict[str, Any]]:
        """The network's input, (1, 3, h, w), and what mmdet has to know of it."""
        # mmdet loads pictures in the order BGR, and its pipelines take it from there.
        bgr = np.ascontiguousarray(image[..., ::-1])
        try:
            data = self._transform({'img': bgr})
        except cv2.error as e:  # resized to the network's input, it would have no pixel in height
            h, w = image.shape[:2]
            raise ValueError(f'an image of {w} × {h} pixels is too narrow for the detector') from e
        [img], [meta] = data['img'], data['img_metas']
        return img.data[None].to(self._device), meta.data


def _from_memory(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A test pipeline that finds the picture in its input, where it would read a file."""
    first, *others = map(dict, pipeline)
    if first['type'] not in ('LoadImageFromFile', 'ReadImage'):
        raise ValueError(f'a test pipeline begins with LoadImageFromFile; found {first["type"]}')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # It tells the user to do what it does itself.
        return replace_ImageToTensor([{**first, 'type': 'LoadImageFromWebcam'}, *others])


def _in_order(
    by_class: list[list[np.ndarray]], labels: Tensor, shape: tuple[int, ...]
) -> np.ndarray:
    """Masks as mmdet lists them, by class, to (k, h, w) bool in the order of the detections."""
    queues = [iter(masks) for masks in by_class]
    masks = [next(queues[label]) for label in labels.tolist()]
    return np.array(masks, dtype=bool).reshape(len(masks), *shape[:2])
