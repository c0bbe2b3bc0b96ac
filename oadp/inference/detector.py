"""The detector as a Python object, independent of the library that runs it.

    from oadp import Detector

    detector = Detector.from_checkpoint('configs/dp/oadp_ov_coco.py', 'oadp_ov_coco.pth')
    detector.set_vocabulary(['red kite', 'mug'])
    detections = detector('photo.jpg', score_threshold=0.3)

This module does not import torch, without which ``from_onnx`` runs.
"""

from __future__ import annotations

__all__ = ['Detector', 'Found', 'View']

import abc
import copy
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oadp.categories import Categories
from oadp.data.images import Image, to_array
from oadp.inference.vocabulary import PromptRows, clean_names, loosen

if TYPE_CHECKING:
    import supervision


@dataclasses.dataclass(frozen=True)
class View:
    """A vocabulary and the model for it. Immutable, so that threads can share it.

    Attributes:
        names: C names.
        is_base: (C,) bool, which of the names are base classes.
        model: the model of the subclass.
    """

    names: tuple[str, ...]
    is_base: np.ndarray
    model: Any


@dataclasses.dataclass(frozen=True)
class Found:
    """The k detections of an image, in descending order of the scores.

    Attributes:
        xyxy: (k, 4) float32, pixels of the image.
        scores: (k,) float32.
        labels: (k,) int64.
        masks: (k, h, w) bool; None without a mask head.
    """

    xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None


class Detector(abc.ABC):
    """Open-vocabulary detector: detects the classes whose names it is given.

    It is created by ``from_checkpoint``, ``from_onnx`` or ``from_pretrained``. Several threads may call
    it at the same time; ``with_vocabulary`` creates a detector with another vocabulary for a thread, which
    shares the weights.
    """

    def __init__(
        self,
        model: Any,
        categories: Categories,
        rows: Sequence[PromptRows],
        embed: Callable[[Sequence[str]], Any],
    ) -> None:
        """Create a detector; called by subclasses.

        Args:
            model: the model of the subclass, for the classes of the training.
            categories: the category set of the training.
            rows: the prompts of each head that has a classifier, starting with the box head.
            embed: return (m, d) text embeddings of m names that are not in ``rows``.
        """
        is_base = np.arange(categories.num_all) < categories.num_bases
        self._own = self._view = View(categories.all_, is_base, model)
        self._categories = categories
        self._rows = list(rows)
        self._embed = embed

    @staticmethod
    def from_checkpoint(
        config: str | os.PathLike | Mapping[str, Any],
        checkpoint: str | os.PathLike,
        *,
        device: Any = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
    ) -> Detector:
        """Build the detector of a config and load its weights; it runs in torch.

        Args:
            config: a config file, the name of a shipped config, or a config of ``load_config``. Paths
                in it are relative to the current directory; of its data, only the prompt files are
                needed.
            checkpoint: weights of a detector of this config, written by ``oadp.dp.train`` or released.
            device: the GPU by default, if there is one.
            clip: weights of the CLIP that the detector was trained with, for names that are not in the
                prompt files; by default the config's ``clip``, or OpenAI's ViT-B/32 under
                ``pretrained/``. Read when such a name is first used.
            cache: folder for text embeddings; the user's cache folder by default.

        Raises:
            FileNotFoundError: the config, the checkpoint or a prompt file does not exist.
            ValueError: the checkpoint does not fit the config.
        """
        from oadp.inference.torch_detector import TorchDetector

        return TorchDetector.load(config, checkpoint, device=device, clip=clip, cache=cache)

    @staticmethod
    def from_onnx(
        path: str | os.PathLike,
        *,
        device: str | None = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
        threads: int | None = None,
    ) -> Detector:
        """Load the files of ``python -m oadp.export``; they run in ONNX Runtime, without torch.

        Names that are not in the vocabulary file need the exported text encoder, ``NAME.text.onnx`` in
        the folder of ``NAME.onnx``, or torch and CLIP's weights.

        Args:
            path: ``NAME.onnx``, with ``NAME.vocabulary.npz`` in the same folder.
            device: ``cpu`` or ``cuda``; ``cuda`` by default if ONNX Runtime supports it.
            clip: weights of CLIP if no text encoder was exported, see ``from_checkpoint``.
            cache: folder for CLIP's text embeddings; the user's cache folder by default.
            threads: number of threads of ONNX Runtime; one per core by default.

        Raises:
            FileNotFoundError: one of the files does not exist.
            ValueError: the file was not written by ``oadp.export``, or the device is not available.
            ImportError: ``onnxruntime`` is not installed.
        """
        from oadp.inference.onnx_detector import OnnxDetector

        return OnnxDetector.load(path, device=device, clip=clip, cache=cache, threads=threads)

    @staticmethod
    def from_pretrained(
        name: str | os.PathLike,
        *,
        revision: str | None = None,
        device: Any = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
    ) -> Detector:
        """Load a folder of ``python -m oadp.bundle``; it runs in torch.

        Args:
            name: the folder, or ``user/name`` on the hub, which is downloaded once.
            revision: branch, tag or commit on the hub; the main branch by default.
            device: see ``from_checkpoint``.
            clip: see ``from_checkpoint``.
            cache: see ``from_checkpoint``.

        Raises:
            FileNotFoundError: files of the folder are missing.
            ValueError: the folder is not a bundle or its files were changed, or ``name`` is neither a
                folder nor a name.
            ConnectionError: the hub cannot be reached, or has no such bundle.
            ImportError: ``huggingface_hub`` is not installed.
        """
        from oadp.inference.bundle import WEIGHTS, read_bundle

        folder = pathlib.Path(name)
        if not folder.is_dir():
            from oadp.inference.hub import fetch

            folder = fetch(os.fspath(name), revision)
        weights = folder / WEIGHTS
        config = read_bundle(folder)
        return Detector.from_checkpoint(config, weights, device=device, clip=clip, cache=cache)

    @property
    def names(self) -> tuple[str, ...]:
        """The C names of the vocabulary; the index of a name is its ``class_id``."""
        return self._view.names

    @property
    def is_base(self) -> np.ndarray:
        """(C,) bool: which of the names are base classes, which had boxes in training."""
        return self._view.is_base

    def set_vocabulary(self, names: Iterable[str] | None) -> None:
        """Set the names to detect.

        A name in a prompt file keeps its embedding there; any other gets the text embedding of ViLD's
        templates (see ``PromptRows.matrix``). Base classes keep their exponents of the score fusion;
        all other names have those of novel classes.

        Args:
            names: the names; None for the classes of the config. Empty and repeated names are ignored
                with a warning.

        Raises:
            ValueError: names are too long, or there is none.
            FileNotFoundError: a name needs CLIP, whose weights do not exist.
        """
        self._view = self._own if names is None else self._make_view(clean_names(names))

    def with_vocabulary(self, names: Iterable[str] | None) -> Detector:
        """Return a second detector with another vocabulary and the same weights.

        Arguments and errors are those of ``set_vocabulary``; this detector does not change.
        """
        other = copy.copy(self)
        other.set_vocabulary(names)
        return other

    def _make_view(self, names: list[str]) -> View:
        matrices = [rows.matrix(names, self._embed) for rows in self._rows]
        bases = {loosen(name) for name in self._categories.bases}
        is_base = np.array([loosen(name) in bases for name in names])
        return View(tuple(names), is_base, self._bind(names, is_base, matrices))

    @abc.abstractmethod
    def _bind(
        self, names: Sequence[str], is_base: np.ndarray, matrices: Sequence[np.ndarray]
    ) -> Any:
        """Return the ``model`` of a view; ``matrices`` are (C, d) float32, one for each of ``rows``."""

    @abc.abstractmethod
    def _detect(
        self, model: Any, image: np.ndarray, score_threshold: float, max_detections: int | None
    ) -> Found:
        """Detect in an (h, w, 3) uint8 RGB image with the ``model`` of a view."""

    def __call__(
        self,
        image: Image,
        score_threshold: float = 0.0,
        max_detections: int | None = None,
    ) -> supervision.Detections:
        """Detect in an image.

        Args:
            image: a file, a PIL image, or an (h, w, 3) uint8 RGB array.
            score_threshold: keep only detections that score higher.
            max_detections: maximum number of detections, those with the highest scores; by default
                the config's number (300).

        Returns:
            k detections in descending order of the scores: ``xyxy`` (k, 4) float32 in pixels of the
            image, ``confidence`` (k,), ``class_id`` (k,), ``mask`` (k, h, w) bool if the model has
            masks, and in ``data`` the ``class_name`` and ``is_base`` of each.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the image cannot be read, is too large, or has another shape.
            TypeError: ``image`` has another type.
        """
        import supervision

        view = self._view
        found = self._detect(view.model, to_array(image), score_threshold, max_detections)
        return supervision.Detections(
            xyxy=found.xyxy,
            confidence=found.scores,
            class_id=found.labels,
            mask=found.masks,
            data={
                'class_name': np.array(view.names)[found.labels],
                'is_base': view.is_base[found.labels],
            },
        )
