"""The detector as a Python object, independent of what computes it.

    from oadp import Detector

    detector = Detector.from_checkpoint('configs/dp/oadp_ov_coco.py', 'oadp_ov_coco.pth')
    detector.set_vocabulary(['red kite', 'mug'])
    detections = detector('photo.jpg', score_threshold=0.3)

Nothing here imports torch: ``from_onnx`` runs without it.
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
    """A vocabulary and what detects it. Never changed, so that threads may share it.

    Attributes:
        names: C names.
        is_base: (C,) bool.
        model: what the subclass computes with.
    """

    names: tuple[str, ...]
    is_base: np.ndarray
    model: Any


@dataclasses.dataclass(frozen=True)
class Found:
    """The k detections of an image, by descending score.

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
    """Detects what it is given the names of.

    Made by ``from_checkpoint``, ``from_onnx`` or ``from_pretrained``. It may be called from several
    threads at once; those that want vocabularies of their own take a detector each from
    ``with_vocabulary``, which shares the weights.
    """

    def __init__(
        self,
        model: Any,
        categories: Categories,
        rows: Sequence[PromptRows],
        embed: Callable[[Sequence[str]], Any],
    ) -> None:
        """
        Args:
            model: what the subclass computes with, for the classes of the training.
            categories: the category set of the training.
            rows: the prompts of each classifying head, the box head's first.
            embed: gives (m, d) text embeddings of m names that ``rows`` lack.
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
        """Build the detector of a config and load its weights; torch computes it.

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
        """Load what ``python -m oadp.export`` wrote; ONNX Runtime computes it, without torch.

        Names that the vocabulary file lacks need the exported text encoder, ``NAME.text.onnx`` beside
        ``NAME.onnx``, or else torch and CLIP's weights.

        Args:
            path: ``NAME.onnx``, with ``NAME.vocabulary.npz`` beside it.
            device: ``cpu`` or ``cuda``; by default ``cuda`` where the installed ONNX Runtime has it.
            clip: weights of CLIP where no text encoder was exported, see ``from_checkpoint``.
            cache: where to keep CLIP's text embeddings; the user's cache folder by default.
            threads: of ONNX Runtime; one for each core by default.

        Raises:
            FileNotFoundError: one of the files is not there.
            ValueError: not a file of ``oadp.export``, or a device that is not there.
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
        """Load a folder that ``python -m oadp.bundle`` wrote; torch computes it.

        Args:
            name: the folder, or ``user/name`` on the hub, which is downloaded once.
            revision: on the hub, a branch, tag or commit; the main branch by default.
            device, clip, cache: see ``from_checkpoint``.

        Raises:
            FileNotFoundError: files of the folder are missing.
            ValueError: not a bundle, one whose files were changed, or neither folder nor name.
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

    def with_vocabulary(self, names: Iterable[str] | None) -> Detector:
        """Make a second detector with a vocabulary of its own, on the same weights.

        Args and errors are those of ``set_vocabulary``; this detector stays as it is.
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
        """Make a view's ``model``: ``matrices`` are (C, d) float32, one for each of the ``rows``."""

    @abc.abstractmethod
    def _detect(
        self, model: Any, image: np.ndarray, score_threshold: float, max_detections: int | None
    ) -> Found:
        """Detect in an (h, w, 3) uint8 RGB image by a view's ``model``."""

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
