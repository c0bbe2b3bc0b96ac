"""A ``Detector`` that runs the files of ``python -m oadp.export`` with ONNX Runtime.

The vocabulary is an input of the graph, so another vocabulary only needs other arrays.
"""

__all__ = ['OnnxDetector']

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oadp.inference.detector import Detector, Found
from oadp.inference.masks import paste_masks
from oadp.inference.onnx_files import (
    HEADS,
    Vocabulary,
    open_session,
    read_metadata,
    text_path,
    vocabulary_path,
)
from oadp.inference.onnx_text import OnnxTextEmbedder
from oadp.inference.preprocessing import Preprocessing

Inputs = dict[str, np.ndarray]


class OnnxDetector(Detector):
    """A ``Detector`` that runs in ONNX Runtime; created by ``Detector.from_onnx``."""

    def __init__(
        self,
        session: Any,
        preprocessing: Preprocessing,
        vocabulary: Vocabulary,
        embed: Callable[[Sequence[str]], Any],
        mask_threshold: float | None = None,
    ) -> None:
        """Create a detector.

        Args:
            session: an ``onnxruntime.InferenceSession`` of the graph.
            preprocessing: converts an image to the input of the graph.
            vocabulary: the vocabulary of the training.
            embed: return (m, d) text embeddings of m names that are not in the vocabulary.
            mask_threshold: minimum probability of a pixel of an object; None without masks.
        """
        categories = vocabulary.categories
        is_base = np.arange(categories.num_all) < categories.num_bases
        inputs = _inputs(is_base, vocabulary.matrices())
        super().__init__(inputs, categories, vocabulary.rows, embed)
        self._session = session
        # Without an object head, there is no score fusion, and `is_base` is not an input.
        self._taken = {i.name for i in session.get_inputs()}
        self._preprocessing = preprocessing
        self._mask_threshold = mask_threshold

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        *,
        device: str | None = None,
        clip: str | os.PathLike | None = None,
        cache: str | os.PathLike | None = None,
        threads: int | None = None,
    ) -> 'OnnxDetector':
        """See ``Detector.from_onnx``."""
        session = open_session(path, device, threads)
        metadata = read_metadata(session, path)
        if metadata.get('kind') != 'detector':
            raise ValueError(f'{path}: expected a detector, found a {metadata.get("kind")}')
        vocabulary = Vocabulary.load(vocabulary_path(path))
        _check_dimensions(session, vocabulary, path)
        embed: Callable[[Sequence[str]], Any]
        if text_path(path).is_file() and clip is None:
            embed = OnnxTextEmbedder.load(path, device, threads)
        else:
            embed = _ClipEmbedder(clip or metadata['clip'], cache)
        return cls(
            session,
            Preprocessing.from_dict(metadata['preprocessing']),
            vocabulary,
            embed,
            metadata['mask_threshold'],
        )

    def _bind(
        self, names: Sequence[str], is_base: np.ndarray, matrices: Sequence[np.ndarray]
    ) -> Inputs:
        return _inputs(is_base, matrices)

    def _detect(
        self, model: Inputs, image: np.ndarray, score_threshold: float, max_detections: int | None
    ) -> Found:
        prepared, scale = self._preprocessing(image)
        inputs = {k: v for k, v in {'image': prepared, **model}.items() if k in self._taken}
        xyxy, scores, labels, *masks = self._session.run(None, inputs)
        # Suppression compares a box only with higher-scoring ones, so both limits can be applied after it.
        count = int((scores > score_threshold).sum())
        if max_detections is not None:
            count = min(count, max_detections)
        xyxy, scores, labels = xyxy[:count] / scale, scores[:count], labels[:count]
        if not masks:
            return Found(xyxy, scores, labels)
        assert self._mask_threshold is not None  # a graph with masks is exported with a threshold
        h, w = image.shape[:2]
        pasted = paste_masks(masks[0][:count], xyxy, (h, w), self._mask_threshold)
        return Found(xyxy, scores, labels, pasted)


def _inputs(is_base: np.ndarray, matrices: Sequence[np.ndarray]) -> Inputs:
    named = zip(HEADS, matrices, strict=False)
    return {'is_base': is_base, **{f'{head}_embeddings': matrix for head, matrix in named}}


def _check_dimensions(session: Any, vocabulary: Vocabulary, path: str | os.PathLike) -> None:
    wanted = {i.name: i.shape[1] for i in session.get_inputs() if i.name.endswith('_embeddings')}
    heads = zip(HEADS, vocabulary.rows, strict=False)
    found = {f'{head}_embeddings': rows.embeddings.shape[1] for head, rows in heads}
    if wanted != found:
        raise ValueError(
            f'{path} expects embeddings of {wanted} numbers, and {vocabulary_path(path).name} has '
            f'{found}: these files were not exported together; export the detector again'
        )


class _ClipEmbedder:
    """Text embeddings by CLIP in torch, which is imported at the first name."""

    def __init__(self, clip: str | os.PathLike, cache: str | os.PathLike | None) -> None:
        self._arguments = clip, cache
        self._embedder: Callable | None = None

    def __call__(self, names: Sequence[str]) -> Any:
        if self._embedder is None:
            try:
                from oadp.inference.text_embedder import TextEmbedder
            except ImportError as e:
                raise ImportError(
                    f'no embeddings of {list(names)}: they need torch and CLIP, or a text encoder '
                    f'in the folder of the detector, which python -m oadp.export --text-encoder writes ({e})'
                ) from e
            self._embedder = TextEmbedder(*self._arguments)
        return self._embedder(names)
