"""Linear classifiers whose weight matrix is the text embeddings of the category names.

A RoI's feature is projected into CLIP's embedding space and compared with each name's embedding, so
a class needs no training example, only a name. The classifiers stand in for the last linear layer of
mmdet's heads (``cls_predictor_cfg``).

The attribute names ``_linear`` and ``_bg_embedding`` are keys of the released checkpoints, and hooks
of the distillation name ``_linear``: do not rename.
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
"""Defaults of ``ViLDClassifier``, those of the box head of OADP on OV-COCO."""


@dataclasses.dataclass(frozen=True)
class Prompts:
    """What a prompt file says of a category set.

    Attributes:
        embeddings: (C, d) float32, in the order of the categories.
        scaler: factor of the cosine similarity, where the file was learned with one.
        bias: what is then taken off.
    """

    embeddings: Tensor
    scaler: float | None = None
    bias: float | None = None


def load_prompts(path: str | os.PathLike, names: Sequence[str]) -> Prompts:
    """Read the embeddings of category names.

    Args:
        path: a torch file with ``names`` (list of n strings), ``embeddings`` (n, d), and, where the
            prompts were learned with them, the 0-d ``scaler`` and ``bias``.
        names: the C names wanted. Names that only the file has are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a prompt file, or names are missing; all missing ones are listed.
    """
    data = read_prompts(path)
    index = {name: i for i, name in enumerate(data['names'])}
    missing = [name for name in names if name not in index]
    if missing:
        raise ValueError(
            f'{path}: no embedding for {len(missing)} of {len(names)} categories: {missing}; '
            'section "Prompts" of the README says how to make a prompt file for other names'
        )
    scalars = {k: float(data[k]) for k in ('scaler', 'bias') if k in data}
    return Prompts(data['embeddings'][[index[name] for name in names]], **scalars)


class NormalizedLinear(nn.Linear):
    """A linear layer into the embedding space; its outputs have unit length, in float32."""

    def forward(self, input: Tensor) -> Tensor:
        return F.normalize(super().forward(input).float(), dim=-1)


@LINEAR_LAYERS.register_module()
class BaseClassifier(nn.Module):
    """Cosine similarity to each category's text embedding.

    In training, the logits of novel categories are −∞: no sample carries their label, and as
    negatives they would be pushed away from what they look like. With ``model.eval()`` all
    categories compete.

    Args:
        in_features: channels of the input.
        out_features: the number of categories, or one more for a background with a learned
            embedding, which comes last.
        prompts: path of the prompt file.
        categories: the category set, or its name, or the path of its JSON file.

    Attributes:
        names: C category names.
        is_base: (C,) bool.
        prompts: path of the prompt file.

    Raises:
        ValueError: ``out_features`` fits neither, or see ``load_prompts``.
    """

    is_base: Tensor
    _embeddings: Tensor

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
        return self._bg_embedding is not None

    @property
    def out_features(self) -> int:
        """Number of logits: the categories, and the background where there is one."""
        return len(self.names) + self.has_background

    def set_embeddings(self, names: Sequence[str], embeddings: Tensor, is_base: Tensor) -> None:
        """Classify into other categories from now on; what is learned stays as it is.

        Args:
            names: C names, any number.
            embeddings: (C, d) of the same embedding space.
            is_base: (C,) bool, which of them the detector had boxes of in training.
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
        """(n, in_features) to (n, out_features) logits, float32 also under autocast.

        Half precision has steps of 0.06 at a logit of 100, which a temperature of 0.01 reaches.
        """
        student = self._linear(x)
        with torch.autocast(x.device.type, enabled=False):
            weight, hidden = self._embeddings, ~self.is_base
            if self.has_background:
                weight = torch.cat([weight, F.normalize(self._bg_embedding, dim=-1)])
                hidden = F.pad(hidden, (0, 1))
            logits = self._scale(student @ weight.t())
            return logits.masked_fill(hidden, -torch.inf) if self.training else logits

    def _scale(self, similarities: Tensor) -> Tensor:
        return similarities


@LINEAR_LAYERS.register_module()
class Classifier(BaseClassifier):
    """Similarities times the ``scaler``, less the ``bias``, with which the prompts were learned."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if None in self._scale_and_bias:
            raise ValueError(
                f'{self.prompts}: no "scaler" and "bias", which learned prompts have; for '
                'others use a ViLDClassifier'
            )

    def _scale(self, similarities: Tensor) -> Tensor:
        scale, bias = self._scale_and_bias
        return similarities * scale - bias


@LINEAR_LAYERS.register_module()
class ViLDClassifier(BaseClassifier):
    """Similarities divided by a temperature (ViLD, arXiv:2104.13921, section 3.3).

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
