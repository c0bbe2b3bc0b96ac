"""Fusion of the box head's and the object head's scores (paper, section 4.1; ViLD's ensemble).

The box head is more accurate on base classes; the object head, which is distilled from CLIP, is more
accurate on novel classes. The detector and the search over the nine parameters call the same
function, so a setting found on a dump gives the same detections in the detector.
"""

__all__ = ['RANGES', 'FusionParameters', 'fuse_scores']

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from oadp.utils.json_text import parse_json, read_text

RANGES: dict[str, tuple[float, float]] = {
    'bbox_base_scaler': (0.2, 1.5),
    'bbox_novel_scaler': (0.2, 1.5),
    'object_base_scaler': (0.2, 1.5),
    'object_novel_scaler': (0.2, 1.5),
    'bbox_base_gamma': (0.2, 0.8),
    'bbox_novel_gamma': (0.2, 0.8),
    'object_base_gamma': (0.2, 0.8),
    'object_novel_gamma': (0.2, 0.8),
    'objectness_gamma': (0.0, 1.0),
}
"""The lowest and highest value of each parameter in the search, as in the authors' code."""

_LOWEST_LOG = -1e30
"""Used as log 0, so that an exponent of 0 gives 1 and not NaN."""


@dataclasses.dataclass(frozen=True)
class FusionParameters:
    """The parameters of the fusion. The defaults are those of the paper.

    They are factors of 1, exponents of 1/3 and 2/3, and no objectness.

    Attributes:
        bbox_base_scaler, bbox_novel_scaler: factors of the base and novel logits of the box head.
        object_base_scaler, object_novel_scaler: the same for the object head.
        bbox_base_gamma, bbox_novel_gamma: exponents of the probabilities of the box head.
        object_base_gamma, object_novel_gamma: exponents of the probabilities of the object head.
        objectness_gamma: exponent of the objectness of the proposal; 0 ignores it.

    Raises:
        ValueError: a number is negative or not finite; the message lists all of them.

    >>> FusionParameters(objectness_gamma=0.5).objectness_gamma
    0.5
    """

    bbox_base_scaler: float = 1.0
    bbox_novel_scaler: float = 1.0
    object_base_scaler: float = 1.0
    object_novel_scaler: float = 1.0
    bbox_base_gamma: float = 2 / 3
    bbox_novel_gamma: float = 1 / 3
    object_base_gamma: float = 1 / 3
    object_novel_gamma: float = 2 / 3
    objectness_gamma: float = 0.0

    def __post_init__(self) -> None:
        faults = [
            f'{name} is {value!r}'
            for name, value in self.to_dict().items()
            if isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not (math.isfinite(value) and value >= 0)
        ]
        if faults:
            raise ValueError(
                'invalid fusion parameters, expected finite numbers of at least 0: '
                + ', '.join(faults)
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> 'FusionParameters':
        """Return the parameters from a mapping of names to numbers; missing ones have their defaults.

        Raises:
            ValueError: unknown names or invalid numbers.
        """
        unknown = sorted(set(mapping) - set(RANGES))
        if unknown:
            raise ValueError(f'unknown fusion parameters {unknown}; expected some of {[*RANGES]}')
        return cls(**mapping)

    @classmethod
    def from_text(cls, text: str) -> 'FusionParameters':
        """Return the parameters from a JSON object, or from the path of a JSON file."""
        if not text.lstrip().startswith('{'):
            return cls.from_file(text)
        return cls._from_json(text, 'fusion parameters')

    @classmethod
    def from_file(cls, path: str | pathlib.Path) -> 'FusionParameters':
        """Read a JSON file: the numbers by name, or an object that has them as ``parameters``.

        The second form is what the search writes.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file has another format; the message starts with the path.
        """
        path = pathlib.Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: no such file; expected the JSON that tools/nni_dp_test.py writes, '
                'or one like {"objectness_gamma": 0.5}'
            )
        return cls._from_json(read_text(path), str(path))

    @classmethod
    def _from_json(cls, text: str, source: str) -> 'FusionParameters':
        data = parse_json(source, text)
        try:
            if isinstance(data, dict):
                data = data.get('parameters', data)
            if not isinstance(data, dict):
                raise ValueError(f'expected a JSON object, found {data!r:.80}')
            return cls.from_mapping(data)
        except ValueError as e:
            raise ValueError(f'{source}: {e}') from e

    def to_dict(self) -> dict[str, float]:
        """Return the nine numbers by name."""
        return dataclasses.asdict(self)


@torch.no_grad()
def fuse_scores(
    bbox_logits: Tensor,
    object_logits: Tensor,
    is_base: Tensor,
    parameters: FusionParameters = FusionParameters(),  # noqa: B008  (frozen)
    objectness: Tensor | None = None,
) -> Tensor:
    """Return the score of each RoI for each class from the logits of the two heads.

    With p = softmax(box logits × scaler) and q = softmax(object logits × scaler), where the scaler
    depends on whether the class is base or novel (it is 1 for the background), the score of a class
    is p^γ · q^γ′ · objectness^γ″. It is computed as the exponential of a sum of logarithms, in
    float32.

    Args:
        bbox_logits: (n, C + 1), background last.
        object_logits: (n, C + 1); the logit of the background can be −∞, as in the object head.
        is_base: (C,) bool.
        parameters: the parameters of the fusion.
        objectness: (n,) in [0, 1]; required if ``objectness_gamma`` is not 0.

    Returns:
        (n, C + 1) float32. The score of the background is 1 minus the sum over the classes, and at
        least 0, as the sum can exceed 1 if the exponents differ between classes.

    Raises:
        ValueError: the shapes do not match, or the objectness is required and missing.

    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> fuse_scores(logits, logits, torch.tensor([True, False]))  # equal logits: softmax
    tensor([[0.7870, 0.1065, 0.1065]])
    """
    n, c = len(bbox_logits), len(is_base)
    if bbox_logits.shape != (n, c + 1) or object_logits.shape != (n, c + 1):
        raise ValueError(
            f'expected logits of {c} categories and the background, (n, {c + 1}); found '
            f'{tuple(bbox_logits.shape)} (boxes) and {tuple(object_logits.shape)} (objects)'
        )
    is_base = is_base.to(bbox_logits.device)
    log_scores = _weighted_log(
        bbox_logits,
        _columns(is_base, parameters.bbox_base_scaler, parameters.bbox_novel_scaler),
        _columns(is_base, parameters.bbox_base_gamma, parameters.bbox_novel_gamma),
    )
    log_scores += _weighted_log(
        object_logits,
        _columns(is_base, parameters.object_base_scaler, parameters.object_novel_scaler),
        _columns(is_base, parameters.object_base_gamma, parameters.object_novel_gamma),
    )
    if parameters.objectness_gamma:
        if objectness is None or objectness.shape != (n,):
            found = None if objectness is None else tuple(objectness.shape)
            raise ValueError(
                f'objectness_gamma is {parameters.objectness_gamma}: expected the objectness of '
                f'{n} RoIs, ({n},), found {found}'
            )
        log_objectness = objectness.float().log().clamp_(min=_LOWEST_LOG)
        log_scores += parameters.objectness_gamma * log_objectness[:, None]
    scores = log_scores.exp_()
    background = (1 - scores.sum(1, keepdim=True)).clamp_(min=0)
    return torch.cat([scores, background], dim=1)


def _columns(is_base: Tensor, base: float, novel: float) -> Tensor:
    return torch.where(is_base, base, novel).float()


def _weighted_log(logits: Tensor, scaler: Tensor, gamma: Tensor) -> Tensor:
    """Return γ · log softmax(logits × scaler) of the classes, (n, C)."""
    scaled = logits.float() * torch.cat([scaler, scaler.new_ones(1)])
    log_probabilities = scaled.log_softmax(1)[:, :-1]
    return log_probabilities.clamp_(min=_LOWEST_LOG) * gamma
