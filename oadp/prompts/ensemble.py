"""Compute prompt ensembles: the embedding of a category is the mean over many sentences."""

__all__ = ['embed_names']

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp.clip.text import encode_continuations
from oadp.clip.weights import tokenize
from oadp.prompts.templates import VILD

BATCH_SIZE = 512  # sentences


@torch.no_grad()
def embed_names(
    model: Any,
    names: Sequence[str],
    templates: Sequence[str] = VILD,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """Average the normalized embeddings of the sentences of each name.

    Names are inserted unchanged, including underscores and parentheses, since the released embeddings,
    with which detectors were trained, were made this way.

    Args:
        model: a ``clip.model.CLIP``.
        names: n category names.
        templates: sentences with ``{}`` in place of the name, separated by spaces.
        progress: called with the number of sentences encoded since the last call.

    Returns:
        (n, d) float32. Means of unit vectors are slightly shorter than 1; they are not normalized again,
        since this would change the logits that the released checkpoints were trained with.

    Raises:
        ValueError: a template without spaces around the name, or sentences that are longer than
            CLIP's context length.
    """
    device = model.token_embedding.weight.device
    words = _tokens(model, names)
    order = torch.tensor([len(w) for w in words], device=device).argsort()
    total = torch.zeros(len(names), model.text_projection.shape[1], device=device)
    for template in templates:
        head, tail = _tokens(model, _split(template))
        _check_lengths(model, template, names, [len(head) + len(w) + len(tail) for w in words])
        start, end = tokenize([''], 2)[0].tolist()
        prefix = model.token_embedding(torch.tensor([start, *head], device=device))
        for indices in order.split(BATCH_SIZE):
            rests = [torch.tensor([*words[i], *tail, end]) for i in indices.tolist()]
            ends = torch.tensor([len(r) - 1 for r in rests], device=device)
            tokens = nn.utils.rnn.pad_sequence(rests, batch_first=True).to(device)
            encoded = encode_continuations(model, prefix, model.token_embedding(tokens), ends)
            total[indices] += functional.normalize(encoded, dim=1)
            if progress is not None:
                progress(len(indices))
    return total / len(templates)


def _split(template: str) -> tuple[str, str]:
    """Return the text before and after the name.

    No token extends across a space, so these texts and the names can be tokenized separately: a thousand
    texts instead of ninety thousand.
    """
    head, name, tail = template.partition('{}')
    if not name or head.rstrip() + ' ' != (head or ' ') or ' ' + tail.lstrip() != (tail or ' '):
        raise ValueError(
            f'template {template!r}: expected one {{}} with spaces around it; separate it from the other words'
        )
    return head, tail


def _tokens(model: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts, without the start and end tokens."""
    tokens = tokenize(texts, model.context_length)
    ends = tokens.argmax(dim=1).tolist()
    return [row[1:end] for row, end in zip(tokens.tolist(), ends, strict=True)]


def _check_lengths(model: Any, template: str, names: Sequence[str], lengths: Sequence[int]) -> None:
    most = model.context_length - 2  # start and end
    long = [template.format(n) for n, length in zip(names, lengths, strict=True) if length > most]
    if long:
        raise ValueError(
            f'expected sentences of at most {model.context_length} tokens, the context length of this CLIP, '
            f'found longer ones; shorten the names in {long[:10]}'
        )
