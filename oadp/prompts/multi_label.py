"""A learned sentence for telling which classes an image shows.

The words before the name are learned, the same for all classes; so a class that training never met
has an embedding too. With them are learned the scale and offset of the logits.
"""

__all__ = ['MultiLabelPrompts', 'spell']

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from oadp.clip.text import encode_continuations
from oadp.clip.weights import tokenize


def spell(name: str) -> str:
    """A category's name as it stands in a sentence.

    >>> spell('arctic_(type_of_shoe)')
    'arctic (type of shoe)'
    """
    return name.replace('_', ' ')


class MultiLabelPrompts(nn.Module):
    """Class embeddings that depend on a learned context, and logits of images.

    The text of a class is: start, context, ``name.``, end.

    Args:
        model: a CLIP; kept frozen.
        names: n class names.
        context: words whose token embeddings the context starts from.
        scaler: first scale of the cosine.
        bias: first offset, subtracted.

    Raises:
        ValueError: names that do not fit CLIP's context; all of them are listed.

    Attributes:
        context: (c, width) parameter, a vector for each token of the words.
        scaler, bias: 0-d parameters.
    """

    def __init__(
        self,
        model: nn.Module,
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
        # What is left of CLIP's context once the learned tokens stand in it.
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
        """The parameters that training changes, by name."""
        return {k: p.detach() for k, p in self.named_parameters() if p.requires_grad}

    def embed(self, classes: slice = slice(None)) -> Tensor:
        """Class embeddings.

        Args:
            classes: which of the names.

        Returns:
            (n, d) of unit length.
        """
        prefix = torch.cat([self._start, self.context])
        embeddings = encode_continuations(
            self.encoder, prefix, self._rests[classes], self._ends[classes]
        )
        return functional.normalize(embeddings, dim=1)

    def forward(self, images: Tensor, classes: slice = slice(None)) -> Tensor:
        """Logits of images.

        Args:
            images: (b, d) image embeddings of unit length.
            classes: which of the names.

        Returns:
            (b, n) scaler · cosine − bias.
        """
        return self.scaler * images @ self.embed(classes).T - self.bias
