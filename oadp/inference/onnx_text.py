"""CLIP's text encoder in ONNX Runtime: text embeddings of any names without torch."""

__all__ = ['OnnxTextEmbedder', 'clean_text']

import html
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from oadp.inference.onnx_files import open_session, read_metadata, text_path, tokenizer_path

BATCH_SIZE = 256  # sentences


def clean_text(text: str) -> str:
    """Clean a text as CLIP's tokenizer does: broken encodings, HTML entities, white space, case."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return ' '.join(text.split()).lower()


class OnnxTextEmbedder:
    """Text embeddings of names: the mean over the file's sentences, computed once per name.

    Args:
        session: an ``onnxruntime.InferenceSession`` of the text encoder.
        tokenizer: a ``tokenizers.Tokenizer`` that adds the start and end tokens.
        templates: sentences with ``{}`` in place of the name.
        context_length: maximum number of tokens, including the start and end tokens.
    """

    def __init__(
        self, session: Any, tokenizer: Any, templates: Sequence[str], context_length: int
    ) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._templates = tuple(templates)
        self._context_length = context_length
        self._known: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, path: str | os.PathLike, device: str | None = None, threads: int | None = None
    ) -> 'OnnxTextEmbedder':
        """Load the text encoder in the folder of a detector.

        Args:
            path: the file of the detector, ``NAME.onnx``.
            device: see ``open_session``.
            threads: see ``open_session``.

        Raises:
            FileNotFoundError: one of its two files does not exist.
            ValueError: the files were not written by ``oadp.export``.
            ImportError: ``tokenizers`` or ``ftfy`` is not installed.
        """
        try:
            import ftfy  # noqa: F401  needed at the first name; report now that it is missing
            import tokenizers
        except ImportError as e:
            raise ImportError(
                'the text encoder needs tokenizers and ftfy, which `pip install -e .[export]` '
                f'installs ({e})'
            ) from e
        file = pathlib.Path(tokenizer_path(path))
        if not file.is_file():
            raise FileNotFoundError(
                f'{file}: no such tokenizer; oadp.export --text-encoder writes it'
            )
        session = open_session(text_path(path), device, threads)
        metadata = read_metadata(session, text_path(path))
        if metadata.get('kind') != 'text encoder':
            raise ValueError(f'{text_path(path)}: expected a text encoder')
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        return cls(session, tokenizer, metadata['templates'], metadata['context_length'])

    def __call__(self, names: Sequence[str]) -> np.ndarray:
        """Embed names.

        Args:
            names: n names, clean.

        Returns:
            (n, d) float32: means of unit vectors, with lengths a little below 1.

        Raises:
            ValueError: names are too long for CLIP's context; all are listed.
        """
        with self._lock:
            new = [name for name in dict.fromkeys(names) if name not in self._known]
            tokens = {name: self._tokenize(name) for name in new}
            long = [n for n, rows in tokens.items() if max(map(len, rows)) > self._context_length]
            if long:
                raise ValueError(
                    f'names too long for CLIP, whose context is {self._context_length} tokens including '
                    f'the words around the name: {long}'
                )
            for name, rows in tokens.items():
                self._known[name] = self._encode(rows).mean(axis=0, dtype=np.float64)
            return np.array([self._known[name] for name in names], dtype=np.float32)

    def _tokenize(self, name: str) -> list[list[int]]:
        texts = [clean_text(template.format(name)) for template in self._templates]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def _encode(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the (n, d) unit vectors of n sequences of tokens."""
        parts = []
        for i in range(0, len(rows), BATCH_SIZE):
            batch = rows[i : i + BATCH_SIZE]
            tokens = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
            for row, ids in zip(tokens, batch, strict=True):
                row[: len(ids)] = ids
            parts += self._session.run(None, {'tokens': tokens})
        return np.concatenate(parts)
