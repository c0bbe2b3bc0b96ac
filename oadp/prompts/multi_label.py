"""Prompts with a learned context, for multi-label image classification.

The context before the name is learned and shared by all classes, so classes without training images have
an embedding too. The scale and the offset of the logits are learned with it.
"""

__all__ = ['MultiLabelPrompts', 'spell']

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp.clip.text import encode_continuations
from oadp.clip.weights import tokenize


def spell(name: str) -> str:
    """Return the name of a category as it is written in a sentence.

    >>> spell('arctic_(type_of_shoe)')
    'arctic (type of shoe)'
    """
    return name.replace('_', ' ')


class MultiLabelPrompts(nn.Module):
    """Compute class embeddings with a learned context, and the logits of images.

    The text of a class is: start, context, ``name.``, end.

    Args:
        model: a ``clip.model.CLIP``, which is frozen.
        names: n class names.
        context: words whose token embeddings initialize the context.
        scaler: initial scale of the cosine similarities.
        bias: initial offset, which is subtracted.

    Raises:
        ValueError: names exceed CLIP's context length; all of them are listed.

    Attributes:
        context: (c, width) parameter, one vector for each token of the words.
        scaler, bias: 0-d parameters.
    """

    _start: Tensor
    _rests: Tensor
    _ends: Tensor

    def __init__(
        self,
        model: Any,
        names: Sequence[str],
        context: str = 'a photo of a',
        scaler: float = 20.0,
        bias: float = 4.0,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.encoder = model.requires_grad_(False)
        device = model.token_embedding.weight.device
        words = tokenize([context], model.context_length)[0]
        count = int(words.argmax()) - 1
        # The names may use the part of CLIP's context that the learned tokens leave.
        tokens = tokenize([f'{spell(n)}.' for n in names], model.context_length - count)
        ends = tokens.argmax(dim=1)
        tokens = tokens[:, : int(ends.max()) + 1]
        with torch.no_grad():
            embedded = model.token_embedding(tokens.to(device))
            learned = model.token_embedding(words[1 : 1 + count].to(device)).clone()
        self.register_buffer('_start', embedded[0, :1], persistent=False)
        self.register_buffer('_rests', embedded[:, 1:], persistent=False)
        self.register_buffer('_ends', (ends - 1).to(device), persistent=False)
        self.context = nn.Parameter(learned)
        self.scaler = nn.Parameter(torch.tensor(float(scaler), device=device))
        self.bias = nn.Parameter(torch.tensor(float(bias), device=device))

    def learned_state(self) -> dict[str, Tensor]:
        """Return the trained parameters by name."""
        return {k: p.detach() for k, p in self.named_parameters() if p.requires_grad}

    def embed(self, classes: slice = slice(None)) -> Tensor:
        """Compute class embeddings.

        Args:
            classes: slice of the names.

        Returns:
            (n, d) of unit length.
        """
        prefix = torch.cat([self._start, self.context])
        embeddings = encode_continuations(
            self.encoder, prefix, self._rests[classes], self._ends[classes]
        )
        return functional.normalize(embeddings, dim=1)

    def forward(self, images: Tensor, classes: slice = slice(None)) -> Tensor:
        """Compute the logits of images.

        Args:
            images: (b, d) image embeddings of unit length.
            classes: slice of the names.

        Returns:
            (b, n): scaler · cosine − bias.
        """
        return self.scaler * images @ self.embed(classes).T - self.bias
