"""Prompt ensembles: a category's embedding is the mean over many sentences about it."""

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
    model: nn.Module,
    names: Sequence[str],
    templates: Sequence[str] = VILD,
    progress: Callable[[int], Any] | None = None,
) -> Tensor:
    """Average the normalised embeddings of a name's sentences.

    Names go into the sentences as they are, underscores and parentheses included: so were the
    released embeddings made, and detectors trained with them expect these.

    Args:
        model: a CLIP.
        names: n category names.
        templates: sentences with ``{}`` in the name's place, as a word of its own.
        progress: called with the number of sentences done since the last call.

    Returns:
        (n, d) float32; means of unit vectors, so a little shorter than 1. Normalising them again
        would change the logits that released checkpoints were trained with.

    Raises:
        ValueError: a template in which the name touches something else, or sentences that do not
            fit CLIP's context.
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
    """What stands before and behind the name.

    Tokens never reach over a space, so these and the names can be tokenised apart: a thousand texts
    instead of ninety thousand.
    """
    head, name, tail = template.partition('{}')
    if not name or head.rstrip() + ' ' != (head or ' ') or ' ' + tail.lstrip() != (tail or ' '):
        raise ValueError(f'template {template!r}: expected {{}} once, with spaces around it')
    return head, tail


def _tokens(model: nn.Module, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, without start and end."""
    tokens = tokenize(texts, model.context_length)
    ends = tokens.argmax(dim=1).tolist()
    return [row[1:end] for row, end in zip(tokens.tolist(), ends, strict=True)]


def _check_lengths(
    model: nn.Module, template: str, names: Sequence[str], lengths: Sequence[int]
) -> None:
    most = model.context_length - 2  # start and end
    long = [template.format(n) for n, length in zip(names, lengths, strict=True) if length > most]
    if long:
        raise ValueError(
            f'too long for the context length of this CLIP, {model.context_length} tokens: {long[:10]}'
        )
