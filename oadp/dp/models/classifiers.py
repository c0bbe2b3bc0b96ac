"""Linear classifiers whose weight matrix is the text embeddings of the category names.

The feature of a RoI is projected into CLIP's embedding space and compared with the embedding of each
name, so a class needs a name but no training examples. The classifiers replace the last linear layer
of mmdet's heads (``cls_predictor_cfg``).

Do not rename the attributes ``_linear`` and ``_bg_embedding``: they are keys of the released
checkpoints, and the hooks of the distillation refer to ``_linear``.
"""

__all__ = [
    'BaseClassifier',
    'Classifier',
    'NormalizedLinear',
    'Prompts',
    'ViLDClassifier',
    'load_prompts',
]

import dataclasses
import os
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.utils.builder import LINEAR_LAYERS
from torch import Tensor, nn

from oadp.categories import Categories, get_categories
from oadp.data.prompt_files import read_prompts

TRAIN_TEMPERATURE = 0.007
VAL_TEMPERATURE = 0.01
"""The default temperatures of ``ViLDClassifier``: those of the box head of OADP on OV-COCO."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The content of a prompt file for a category set.

    Attributes:
        embeddings: (C, d) float32, in the order of the categories.
        scaler: the factor of the cosine similarity, if the prompts were learned with one.
        bias: the value that is then subtracted, if the prompts were learned with one.
    """

    embeddings: Tensor
    scaler: float | None = None
    bias: float | None = None


def load_prompts(path: str | os.PathLike, names: Sequence[str]) -> Prompts:
    """Read the embeddings of category names from a prompt file.

    Args:
        path: a torch file with ``names`` (a list of n strings), ``embeddings`` (n, d) and, if the
            prompts were learned with them, the scalars ``scaler`` and ``bias``.
        names: the C names to read. Other names in the file are ignored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a prompt file, or names are missing; the message lists all missing names.
    """
    data = read_prompts(path)
    index = {name: i for i, name in enumerate(data['names'])}
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f'{path}: no embedding for {len(missing)} of {len(names)} categories: {missing}; '
            'to create a prompt file for other names, see section "Prompts" of the README'
        )
    scalars = {k: float(data[k]) for k in ('scaler', 'bias') if k in data}
    return Prompts(data['embeddings'][[index[name] for name in names]], **scalars)


class NormalizedLinear(nn.Linear):
    """A linear layer into the embedding space, whose float32 outputs have unit length."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        return F.normalize(super().forward(input).float(), dim=-1)


@LINEAR_LAYERS.register_module()
class BaseClassifier(nn.Module):
    """Compute the cosine similarity to the text embedding of each category.

    In training, the logits of novel categories are −∞: no sample has their label, and as negatives
    they would be pushed away from samples that look like them. In evaluation mode, all categories
    have logits.

    Args:
        in_features: channels of the input.
        out_features: the number of categories; or one more for the background, which comes last and
            has a learned embedding.
        prompts: path of the prompt file.
        categories: the category set, its name, or the path of its JSON file.

    Attributes:
        names: the C category names.
        is_base: (C,) bool.
        prompts: the path of the prompt file.

    Raises:
        ValueError: ``out_features`` is neither of the two numbers; see also ``load_prompts``.
    """

    is_base: Tensor
    _embeddings: Tensor
    _bg_embedding: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        prompts: str | os.PathLike,
        categories: Categories | str,
    ) -> None:
        super().__init__()
        if isinstance(categories, str):
            categories = get_categories(categories)
        num_all = categories.num_all
        if out_features not in (num_all, num_all + 1):
            raise ValueError(
                f'out_features={out_features}: expected {num_all}, the number of categories, or '
                f'{num_all + 1} with the background'
            )
        self.prompts = os.fspath(prompts)
        loaded = load_prompts(prompts, categories.all_)
        embeddings = loaded.embeddings
        self._scale_and_bias = (loaded.scaler, loaded.bias)
        self.names = categories.all_
        self.register_buffer('_embeddings', embeddings, persistent=False)
        self.register_buffer(
            'is_base', torch.arange(num_all) < categories.num_bases, persistent=False
        )
        self._linear = NormalizedLinear(in_features, embeddings.shape[1])
        if out_features > num_all:
            self._bg_embedding = nn.Parameter(torch.empty(1, embeddings.shape[1]))
            nn.init.xavier_uniform_(self._bg_embedding)
        else:
            self._bg_embedding = None

    @property
    def has_background(self) -> bool:
        """Whether there is a logit for the background."""
        return self._bg_embedding is not None

    @property
    def out_features(self) -> int:
        """The number of logits: the categories and, if any, the background."""
        return len(self.names) + self.has_background

    def set_embeddings(self, names: Sequence[str], embeddings: Tensor, is_base: Tensor) -> None:
        """Replace the categories; the learned weights do not change.

        Args:
            names: C names, any number of them.
            embeddings: (C, d) in the same embedding space.
            is_base: (C,) bool, the categories with box annotations in training.
        """
        expected = (len(names), self._embeddings.shape[1])
        if tuple(embeddings.shape) != expected or tuple(is_base.shape) != expected[:1]:
            raise ValueError(
                f'expected embeddings {expected} and is_base {expected[:1]}, found '
                f'{tuple(embeddings.shape)} and {tuple(is_base.shape)}'
            )
        self.names = tuple(names)
        self._embeddings = embeddings.to(self._embeddings)
        self.is_base = is_base.to(self.is_base)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features) logits, in float32 also under autocast.

        At a logit of 100, which a temperature of 0.01 can give, half precision has steps of 0.06.
        """
        student = self._linear(x)
        with torch.autocast(x.device.type, enabled=False):
            weight, hidden = self._embeddings, ~self.is_base
            if self._bg_embedding is not None:
                weight = torch.cat([weight, F.normalize(self._bg_embedding, dim=-1)])
                hidden = F.pad(hidden, (0, 1))
            logits = self._scale(student @ weight.t())
            return logits.masked_fill(hidden, -torch.inf) if self.training else logits

    def _scale(self, similarities: Tensor) -> Tensor:
        return similarities


@LINEAR_LAYERS.register_module()
class Classifier(BaseClassifier):
    """Multiply the similarities by the learned ``scaler`` of the prompts and subtract their ``bias``."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if None in self._scale_and_bias:
            raise ValueError(
                f'{self.prompts}: expected "scaler" and "bias", which learned prompts have; for '
                'other prompts, use ViLDClassifier'
            )

    def _scale(self, similarities: Tensor) -> Tensor:
        scale, bias = self._scale_and_bias
        return similarities * scale - bias


@LINEAR_LAYERS.register_module()
class ViLDClassifier(BaseClassifier):
    """Divide the similarities by a temperature (ViLD, arXiv:2104.13921, section 3.3).

    Args:
        scaler: the temperatures, ``dict(train=…, val=…)``.
    """

    def __init__(self, *args, scaler: Mapping[str, float] | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        scaler = dict(train=TRAIN_TEMPERATURE, val=VAL_TEMPERATURE) if scaler is None else scaler
        if set(scaler) != {'train', 'val'} or min(scaler.values()) <= 0:
            raise ValueError(
                f'scaler={dict(scaler)}: expected positive temperatures, dict(train=…, val=…)'
            )
        self._scaler = dict(scaler)

    def _scale(self, similarities: Tensor) -> Tensor:
        return similarities / self._scaler['train' if self.training else 'val']
