"""Load CLIP, tokenize and encode texts, and write archives in OpenAI's format.

The network is that of the ``clip`` package. The loader of this module never downloads, runs no pickled
code, takes the sizes from the weights, and reports what is wrong with a file.
"""

__all__ = [
    'CLIP_PATH',
    'OPENAI_SHA256',
    'encode_embeddings',
    'encode_texts',
    'import_clip',
    'load_clip',
    'save_clip_archive',
    'tokenize',
]

import copy
import os
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp import compat
from oadp.clip.archive import is_archive, read_archive
from oadp.data.sources import CLIP_PATH, OPENAI_SHA256
from oadp.utils import runtime
from oadp.utils.files import atomic_write, sha256
from oadp.utils.finite import refuse_non_finite

_SIZES = ('input_resolution', 'context_length', 'vocab_size')
"""Integers that OpenAI's archives contain in addition to the weights."""

_REQUIRED = ('positional_embedding', 'text_projection', 'token_embedding.weight', 'ln_final.weight')
_HEAD_WIDTH = 64  # channels of an attention head, in every CLIP


def import_clip() -> types.ModuleType:
    """Import the ``clip`` package after preparing its dependencies."""
    compat.prepare_clip()
    import clip
    import clip.model

    return clip


def load_clip(path: str | os.PathLike = CLIP_PATH, device: str | torch.device = 'cpu') -> Any:
    """Load CLIP from OpenAI's TorchScript archive, or from a state dict.

    A file with the name of one of OpenAI's archives but another checksum is loaded with a warning.

    Args:
        path: the file. Nothing is downloaded.
        device: device of the model.

    Returns:
        A ``clip.model.CLIP`` in float32 and evaluation mode, without gradients. Weights are converted
        to fp16 first, the format of OpenAI's, so numbers equal those of ``clip.load``.

    Raises:
        FileNotFoundError: no such file; the message says how to get it.
        ValueError: the file does not contain CLIP's weights; the message says what it contains.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file of CLIP weights; `python -m oadp.pretrained clip` downloads OpenAI's "
            f'ViT-B/32 to {CLIP_PATH} (README, "Pretrained Models")'
        )
    _check_sum(path)
    state_dict = _read_state_dict(path)
    missing = [key for key in _REQUIRED if key not in state_dict]
    if missing:
        raise ValueError(
            f'{path}: expected the weights of a CLIP, found {len(state_dict)} tensors without {missing}, '
            f'such as {sorted(state_dict)[:3]}; use a state dict of clip.model.CLIP'
        )
    refuse_non_finite(state_dict, path, 'download the weights again')
    model = import_clip().model.build_model(state_dict)
    return model.float().requires_grad_(False).eval().to(device)


def _check_sum(path: pathlib.Path) -> None:
    expected = OPENAI_SHA256.get(path.name)
    if expected is None:
        return
    found = sha256(path)
    if found != expected:
        runtime.get_logger().warning(
            '%s is not the file that OpenAI published (SHA-256 %s…, expected %s…); it is used anyway',
            path,
            found[:12],
            expected[:12],
        )


def _read_state_dict(path: pathlib.Path) -> dict[str, Tensor]:
    if is_archive(path):
        return read_archive(path)
    state_dict = compat.load_tensors(path)
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(v, Tensor) for v in state_dict.values()
    ):
        raise ValueError(
            f'{path}: expected a TorchScript archive or a dict of tensors, '
            f'found {_describe(state_dict)}'
        )
    return dict(state_dict)


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'a dict with {sorted(map(str, value))[:5]}'
    return f'a {type(value).__name__}'


class _Sizes(nn.Module):
    """A CLIP with the three sizes as buffers, under the keys of OpenAI's archives."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        sizes = (model.visual.input_resolution, model.context_length, model.vocab_size)
        for name, size in zip(_SIZES, sizes, strict=True):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_clip_archive(model: Any, path: str | os.PathLike) -> None:
    """Write a CLIP as a TorchScript archive with OpenAI's keys. Atomic.

    ``clip.load`` and :func:`load_clip` read it. It contains the weights and the sizes, but not the
    computation, so ``clip.load(..., jit=True)`` cannot run it. The same weights as in OpenAI's archives
    are stored in fp16.

    Args:
        model: a ``clip.model.CLIP``; not changed.
        path: path of the archive; its folder is created.
    """
    model = copy.deepcopy(model).cpu().eval()
    import_clip().model.convert_weights(model)
    archive = torch.jit.trace(_Sizes(model), torch.zeros(1), check_trace=False)
    with atomic_write(path) as temporary:
        torch.jit.save(archive, temporary)


def tokenize(texts: Sequence[str], context_length: int) -> Tensor:
    """Tokenize texts as CLIP does.

    Args:
        texts: n texts.
        context_length: maximum number of tokens including start and end, ``model.context_length``.

    Returns:
        (n, context_length) int64: start token, tokens of the text, end token, zeros.

    Raises:
        ValueError: texts are too long; all of them are listed.
    """
    clip = import_clip()
    texts = list(texts)
    try:
        return clip.tokenize(texts, context_length)
    except RuntimeError:
        lengths = {t: int(clip.tokenize(t, context_length=_length(t)).argmax()) + 1 for t in texts}
    raise ValueError(
        f'expected texts of at most {context_length} tokens, the context length of this CLIP, found '
        'longer ones; shorten '
        + ', '.join(f'{t!r} ({n} tokens)' for t, n in lengths.items() if n > context_length)
    )


def _length(text: str) -> int:
    """Return an upper bound of the number of tokens: one per byte, the start and the end.

    CLIP first replaces HTML entities, which can make a text longer, but less than twice as long.
    """
    return 2 * len(text.encode()) + 2


def encode_embeddings(model: Any, embeddings: Tensor, ends: Tensor) -> Tensor:
    """Encode sequences of token embeddings, which may include learned ones.

    The attention is causal, so tokens after the end token have no effect, and a sequence may be cut
    there.

    Args:
        model: a ``clip.model.CLIP``.
        embeddings: (n, l, width) token embeddings, l ≤ ``model.context_length``.
        ends: (n,) position of the end token.

    Returns:
        (n, d), not normalized, equal to ``model.encode_text`` of the same tokens.
    """
    x = embeddings + model.positional_embedding[: embeddings.shape[1]]
    x = model.transformer(x.transpose(0, 1)).transpose(0, 1)
    x = x[torch.arange(len(x), device=x.device), ends]
    return model.ln_final(x) @ model.text_projection


@torch.no_grad()
def encode_texts(
    model: Any,
    texts: Sequence[str],
    batch_size: int = 256,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """Encode texts. Equal texts are encoded once, and batches contain texts of similar lengths.

    Args:
        model: a ``clip.model.CLIP``.
        texts: n texts.
        batch_size: number of texts in a batch.
        progress: called with the number of texts encoded since the last call.

    Returns:
        (n, d) float32 of unit length, on the device of the model.

    Raises:
        ValueError: texts are longer than the context length of the model.
    """
    device = model.token_embedding.weight.device
    distinct = list(dict.fromkeys(texts))
    tokens = tokenize(distinct, model.context_length).to(device)
    ends = tokens.argmax(dim=1)
    order = ends.argsort()
    result = torch.empty(len(distinct), model.text_projection.shape[1], device=device)
    for indices in order.split(batch_size):
        length = int(ends[indices].max()) + 1
        embeddings = model.token_embedding(tokens[indices, :length])
        result[indices] = encode_embeddings(model, embeddings, ends[indices]).float()
        if progress is not None:
            progress(len(indices))
    result = functional.normalize(result, dim=1)
    position = {text: i for i, text in enumerate(distinct)}
    return result[torch.tensor([position[text] for text in texts], dtype=torch.long, device=device)]
