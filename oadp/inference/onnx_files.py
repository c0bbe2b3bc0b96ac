"""Names, metadata and vocabulary of an exported detector.

In the folder of ``NAME.onnx`` are ``NAME.vocabulary.npz`` and, with a text encoder, ``NAME.text.onnx``
and ``NAME.tokenizer.json``. All files are read without torch and without pickle.
"""

__all__ = [
    'FORMAT',
    'HEADS',
    'Vocabulary',
    'import_onnxruntime',
    'open_session',
    'read_metadata',
    'text_path',
    'tokenizer_path',
    'vocabulary_path',
    'write_metadata',
]

import dataclasses
import json
import os
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oadp.categories import Categories
from oadp.inference.vocabulary import PromptRows
from oadp.utils.files import atomic_write

FORMAT = 1
"""Version of the metadata and the vocabulary file; increase it if older code would misread them."""

HEADS = ('bbox', 'object')
"""Heads that have a classifier, in the order of their matrices."""

_KEY = 'oadp.'
"""Prefix of the keys of OADP's metadata."""


def vocabulary_path(path: str | os.PathLike) -> pathlib.Path:
    """Return the vocabulary file of the detector ``NAME.onnx``."""
    return pathlib.Path(path).with_suffix('.vocabulary.npz')


def text_path(path: str | os.PathLike) -> pathlib.Path:
    """Return the text encoder of the detector ``NAME.onnx``."""
    return pathlib.Path(path).with_suffix('.text.onnx')


def tokenizer_path(path: str | os.PathLike) -> pathlib.Path:
    """Return the tokenizer of the detector ``NAME.onnx``."""
    return pathlib.Path(path).with_suffix('.tokenizer.json')


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The classes of the training, and the prompts of each head that has a classifier.

    Attributes:
        categories: the category set.
        rows: prompts of the box head and, if there is one, of the object head.
    """

    categories: Categories
    rows: tuple[PromptRows, ...]

    def matrices(self) -> list[np.ndarray]:
        """Return each head's (C, d) embeddings of the categories."""
        return [rows.matrix(self.categories.all_, _refuse) for rows in self.rows]

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, atomically.

        It contains ``names`` and ``is_base`` (C,), and for each head ``HEAD_embeddings`` (C, d), the
        inputs of the graph for the classes of the training, and ``HEAD_prompt_names`` (n,) and
        ``HEAD_prompt_embeddings`` (n, d), the whole prompt file.
        """
        names = self.categories.all_
        arrays = {
            'format': np.array(FORMAT),
            'names': np.array(names),
            'is_base': np.arange(len(names)) < self.categories.num_bases,
        }
        for head, rows, matrix in zip(HEADS, self.rows, self.matrices(), strict=False):
            arrays[f'{head}_embeddings'] = matrix
            arrays[f'{head}_prompt_names'] = np.array(rows.names)
            arrays[f'{head}_prompt_embeddings'] = rows.embeddings
        with atomic_write(path) as temporary, temporary.open('wb') as f:
            np.savez(f, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> 'Vocabulary':
        """Read the file.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a vocabulary file, or has a later format.
        """
        path = pathlib.Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: no such vocabulary file; python -m oadp.export writes it with the ONNX file'
            )
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {key: data[key] for key in data.files}
            _check_format(int(arrays['format']), path)
            names, is_base = arrays['names'].tolist(), arrays['is_base']
            heads = [head for head in HEADS if f'{head}_embeddings' in arrays]
            rows = tuple(
                PromptRows(
                    f'{path} ({head} head)',
                    tuple(arrays[f'{head}_prompt_names'].tolist()),
                    arrays[f'{head}_prompt_embeddings'],
                )
                for head in heads
            )
        except (KeyError, TypeError, OSError, EOFError, ValueError) as e:
            raise ValueError(f'{path}: expected a vocabulary file of oadp.export ({e})') from e
        num_bases = int(is_base.sum())
        return cls(Categories(tuple(names[:num_bases]), tuple(names[num_bases:])), rows)


def _refuse(names: Sequence[str]) -> Any:
    raise ValueError(f'no embeddings of the classes {list(names)}')


def _check_format(found: int, path: pathlib.Path) -> None:
    if found != FORMAT:
        raise ValueError(
            f'{path}: expected format {FORMAT}, found {found}; export the detector again, or '
            'update oadp'
        )


def write_metadata(model: Any, values: Mapping[str, Any]) -> None:
    """Add JSON values and the version of the format to the metadata of an ``onnx.ModelProto``."""
    for key, value in {'format': FORMAT, **values}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = _KEY + key, json.dumps(value)


def read_metadata(session: Any, path: str | os.PathLike) -> dict[str, Any]:
    """Read the metadata of ``write_metadata``.

    Raises:
        ValueError: the file was not written by ``oadp.export``, or has a later format.
    """
    entries = session.get_modelmeta().custom_metadata_map
    metadata = {k[len(_KEY) :]: json.loads(v) for k, v in entries.items() if k.startswith(_KEY)}
    if 'format' not in metadata:
        raise ValueError(
            f'{path}: expected a file of oadp.export, but its metadata has no {_KEY}format, only '
            f'{sorted(entries)}'
        )
    _check_format(metadata['format'], pathlib.Path(path))
    return metadata


def import_onnxruntime() -> types.ModuleType:
    """Import ONNX Runtime.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import onnxruntime
    except ImportError as e:
        raise ImportError(
            f'ONNX files need onnxruntime, which `pip install -e .[export]` installs ({e})'
        ) from e
    return onnxruntime


def open_session(
    path: str | os.PathLike, device: str | None = None, threads: int | None = None
) -> Any:
    """Open an ``onnxruntime.InferenceSession``.

    Args:
        path: the ONNX file.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``cuda`` by default if ONNX Runtime supports it.
        threads: number of threads; one per core by default.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not an ONNX file, or the device is not available.
        ImportError: see ``import_onnxruntime``.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such ONNX file; python -m oadp.export writes one')
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(path, options, providers=_providers(runtime, device))
    except Exception as e:  # the only common base of onnxruntime's errors
        if isinstance(e, ValueError) or not type(e).__module__.startswith('onnxruntime'):
            raise
        raise ValueError(f'{path}: ONNX Runtime cannot load it ({e})') from e


def _providers(runtime: types.ModuleType, device: str | None) -> list[Any]:
    available = runtime.get_available_providers()
    has_cuda = 'CUDAExecutionProvider' in available
    kind, _, index = (device or ('cuda' if has_cuda else 'cpu')).partition(':')
    if kind == 'cpu':
        return ['CPUExecutionProvider']
    if kind != 'cuda' or not has_cuda or not (index or '0').isdecimal():
        raise ValueError(
            f'device {device!r} cannot be used: expected cpu or, with onnxruntime-gpu, cuda or cuda:N; '
            f'this ONNX Runtime has {available}'
        )
    return [('CUDAExecutionProvider', {'device_id': int(index or 0)}), 'CPUExecutionProvider']
