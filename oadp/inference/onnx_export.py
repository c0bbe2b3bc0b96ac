"""Write a detector, and CLIP's text encoder, as ONNX files."""

__all__ = ['export_detector', 'export_text_encoder', 'import_onnx']

import copy
import dataclasses
import os
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp import __version__
from oadp.clip.text import encode_continuations
from oadp.clip.weights import CLIP_PATH, import_clip
from oadp.dp.export.graph import DetectionGraph
from oadp.inference.onnx_files import Vocabulary, vocabulary_path, write_metadata
from oadp.inference.preprocessing import Preprocessing
from oadp.inference.torch_detector import TorchDetector
from oadp.prompts.templates import VILD
from oadp.utils.files import atomic_write

MIN_OPSET = 16
"""The first opset whose RoiAlign is aligned: coordinates refer to the centers of pixels."""

OPSET = 17

_EXAMPLE_HW = (192, 256)  # pixels; the graph accepts any size
_EXAMPLE_NAMES = 3


def import_onnx() -> types.ModuleType:
    """Import ONNX.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import onnx
    except ImportError as e:
        raise ImportError(
            f'the export needs onnx, which `pip install -e .[export]` installs ({e})'
        ) from e
    return onnx


def export_detector(
    detector: TorchDetector,
    preprocessing: Preprocessing,
    path: str | os.PathLike,
    *,
    opset: int = OPSET,
    fp16: bool = False,
    clip: str | os.PathLike | None = None,
) -> None:
    """Write ``NAME.onnx`` and ``NAME.vocabulary.npz``.

    Args:
        detector: a detector on the CPU; not changed.
        preprocessing: the preprocessing of its config.
        path: ``NAME.onnx``.
        opset: version of ONNX's operators, at least 16.
        fp16: compute convolutions and linear layers in half precision.
        clip: path of CLIP's weights that is stored as the default for new names.

    Raises:
        ValueError: the detector cannot be exported, or the opset is too old.
        ImportError: ``onnx`` is not installed.
    """
    if opset < MIN_OPSET:
        raise ValueError(f'opset {opset}: expected at least {MIN_OPSET}, whose RoiAlign is aligned')
    import_onnx()
    graph = DetectionGraph(copy.deepcopy(detector._own.model), preprocessing.divisor, fp16).eval()
    roi_head = graph.model.roi_head
    vocabulary = Vocabulary(detector._categories, tuple(detector._rows))
    embeddings = [torch.from_numpy(m[:_EXAMPLE_NAMES]) for m in vocabulary.matrices()]
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, *_EXAMPLE_HW, generator=generator)
    inputs: dict[str, Tensor | None] = {'image': image, 'bbox_embeddings': embeddings[0]}
    inputs['object_embeddings'] = embeddings[1] if len(embeddings) > 1 else None
    inputs['is_base'] = torch.arange(len(embeddings[0])) < 1
    outputs = ['boxes', 'scores', 'labels', *(['masks'] if roi_head.with_mask else [])]
    axes = {name: {0: 'names'} for name in inputs} | {name: {0: 'detections'} for name in outputs}
    metadata = {
        'kind': 'detector',
        'preprocessing': dataclasses.asdict(preprocessing),
        'mask_threshold': roi_head.test_cfg.mask_thr_binary if roi_head.with_mask else None,
        'clip': os.fspath(clip or CLIP_PATH),
        'precision': 'float16' if fp16 else 'float32',
    }
    vocabulary.save(vocabulary_path(path))
    _write(
        graph, inputs, outputs, axes | {'image': {2: 'height', 3: 'width'}}, path, opset, metadata
    )


class _TextGraph(nn.Module):
    """Map (n, l) tokens to (n, d) unit vectors."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        embeddings = self.clip.token_embedding(tokens)
        ends = tokens[:, 1:].argmax(dim=1)  # the end token has the highest index
        # The first token of all texts is the start token.
        encoded = encode_continuations(self.clip, embeddings[0, :1], embeddings[:, 1:], ends)
        return functional.normalize(encoded, dim=1)


def export_text_encoder(
    clip: nn.Module,
    path: str | os.PathLike,
    tokenizer: str | os.PathLike,
    *,
    opset: int = OPSET,
    templates: Sequence[str] = VILD,
) -> None:
    """Write CLIP's text encoder and its tokenizer.

    Args:
        clip: a model of ``load_clip``, on the CPU.
        path: the ONNX file.
        tokenizer: the file of the tokenizer, in the format of the package ``tokenizers``.
        opset: version of ONNX's operators.
        templates: sentences over which the embedding of a name is averaged.

    Raises:
        ImportError: ``onnx`` or ``tokenizers`` is not installed.
    """
    import_onnx()
    built = build_tokenizer()
    with atomic_write(tokenizer) as temporary:
        built.save(str(temporary), pretty=False)
    tokens = torch.tensor([built.encode(text).ids for text in ('a cat', 'a dog')])
    metadata = {
        'kind': 'text encoder',
        'templates': list(templates),
        'context_length': clip.context_length,
    }
    axes = {'tokens': {0: 'texts', 1: 'length'}, 'embeddings': {0: 'texts'}}
    graph = _TextGraph(clip).eval()
    _write(graph, {'tokens': tokens}, ['embeddings'], axes, path, opset, metadata)


def build_tokenizer() -> Any:
    """Build CLIP's tokenizer as a ``tokenizers.Tokenizer``, for texts of ``clean_text``."""
    try:
        import tokenizers
        from tokenizers import Regex, models, pre_tokenizers, processors
    except ImportError as e:
        raise ImportError(
            f'the text encoder needs tokenizers, which `pip install -e .[export]` installs ({e})'
        ) from e
    import_clip()
    from clip.simple_tokenizer import SimpleTokenizer

    clip = SimpleTokenizer()
    start, end = '<|startoftext|>', '<|endoftext|>'
    model = models.BPE(clip.encoder, list(clip.bpe_ranks), end_of_word_suffix='</w>')
    tokenizer = tokenizers.Tokenizer(model)
    words = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+""")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, 'removed', invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f'{start} $0 {end}',
        special_tokens=[(token, clip.encoder[token]) for token in (start, end)],
    )
    tokenizer.add_special_tokens([start, end])
    return tokenizer


@torch.no_grad()
def _write(
    graph: nn.Module,
    inputs: Mapping[str, Tensor | None],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    path: str | os.PathLike,
    opset: int,
    metadata: Mapping[str, Any],
) -> None:
    onnx = import_onnx()
    given = [name for name, value in inputs.items() if value is not None]
    with atomic_write(path) as temporary, warnings.catch_warnings():
        # The warnings concern checks of arguments, which do not depend on the sizes, and that this
        # exporter is deprecated: the new one needs another package and cannot write this graph's loop.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            str(temporary),
            input_names=given,
            output_names=list(outputs),
            dynamic_axes={k: dict(v) for k, v in axes.items() if k in (*given, *outputs)},
            opset_version=opset,
            dynamo=False,
        )
        model = onnx.load(str(temporary))
        model.producer_name, model.producer_version = 'oadp', __version__
        write_metadata(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, str(temporary))
