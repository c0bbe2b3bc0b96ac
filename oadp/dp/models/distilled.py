"""Distillation losses of a two-stage detector: todd's ``SelfDistiller``, and the features of a batch."""

__all__ = ['DistilledDetector', 'Losses']

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmdet.models import TwoStageDetector
from todd import Config
from todd.distillers import SelfDistiller, Student
from torch import Tensor

from oadp.dp.models.distillation import check_distiller, without_unused

Losses = dict[str, Any]


class DistilledDetector(TwoStageDetector, Student[SelfDistiller]):
    """A two-stage detector with hooks on its embeddings, from which distillation losses are computed.

    Args:
        args: arguments of the detector.
        kwargs: arguments of the detector.

    Attributes:
        hooked_parts: paths of the modules whose outputs a distillation loss is computed from.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._loss_inputs: dict[str, set[str]] = {}  # of each distillation loss
        self._needed: set[str] = set()  # features of the batch, and hooks
        self.hooked_parts: tuple[str, ...] = ()

    def _build_distiller(self, distiller: Mapping[str, Any]) -> None:
        distiller = without_unused(distiller)
        check_distiller(self, distiller)
        if not distiller['losses']:
            return
        Student.__init__(self, Config(distiller))
        self.hooked_parts = tuple(
            hook['action']['path'] for hook in distiller['student_hooks'].values()
        )
        self._loss_inputs = {loss.name: loss.spec.inputs for loss in self.distiller['losses']}
        adapts = self.distiller['adapts'].spec
        self._needed = adapts.inputs.union(*self._loss_inputs.values()) - adapts.outputs

    def _paired(
        self, kind: str, boxes: list[Tensor] | None, features: list[Tensor] | None
    ) -> list[Tensor] | None:
        """Return the boxes; check that each has a feature, if a distillation loss needs features."""
        if f'clip_{kind}s' not in self._needed:
            return boxes
        if boxes is None or features is None:
            raise ValueError(
                f'the distiller needs {kind}_bboxes and clip_{kind}s, which the batch lacks: '
                'LoadCLIPFeatures loads them and Collect passes them on, in the training pipeline'
            )
        found = [len(b) for b in boxes], [len(f) for f in features]
        if found[0] != found[1]:
            raise ValueError(
                f'{kind}_bboxes and clip_{kind}s differ in number, by image: {found[0]} and '
                f'{found[1]}'
            )
        return boxes

    def _distill(self, **features: Tensor | list[Tensor] | None) -> Losses:
        """Return the distillation losses, in float32, and advance the schedules of their weights."""
        if not self._loss_inputs:
            return {}
        student = self.distiller.tensors()
        with torch.autocast(next(iter(student.values())).device.type, enabled=False):
            teacher = {
                k: _join(v) for k, v in features.items() if k in self._needed and v is not None
            }
            missing = self._needed - set(teacher) - set(student)
            if missing:
                raise ValueError(
                    f'the distiller needs {sorted(missing)}, which the batch lacks: '
                    'LoadCLIPFeatures loads them and Collect passes them on, in the training pipeline'
                )
            losses = self.distiller(teacher)
            nothing = {k for k, v in teacher.items() if not len(v)}
            for name, inputs in self._loss_inputs.items():
                if inputs & nothing:  # the mean of no element is NaN
                    losses[name] = sum(student[k].sum() for k in inputs & set(student)) * 0
        if self.training:
            self.distiller.step()
        self.distiller.reset()
        return losses

    def _parse_losses(self, losses: Losses) -> tuple[Tensor, dict[str, float]]:
        """Return the sum of the losses, and all values for the log, as mmdet's detectors do.

        mmdet reads each value from the device, and reduces it over the processes, by itself; a
        detector with distillation has twice as many values. Here they are read and reduced together.

        Args:
            losses: tensors, or lists of one per feature level. Only names with ``loss`` are summed.

        Raises:
            TypeError: a value is neither a tensor nor a list of tensors.
            RuntimeError: the processes have different numbers of values.
        """
        values = {name: _mean(name, value) for name, value in losses.items()}
        total = sum(value for name, value in values.items() if 'loss' in name)
        assert isinstance(total, Tensor), 'a detector has losses'
        values['loss'] = total
        means = torch.stack([value.detach() for value in values.values()])
        if dist.is_available() and dist.is_initialized():
            _check_number(list(values), means.device)
            dist.all_reduce(means.div_(dist.get_world_size()))
        return total, dict(zip(values, means.tolist(), strict=True))


def _mean(name: str, value: Any) -> Tensor:
    """Return the 0-d mean of a tensor, or the sum of the means of several."""
    if isinstance(value, Tensor):
        return value.mean()
    if isinstance(value, list) and value:
        return sum(x.mean() for x in value)  # type: ignore[return-value]  # not empty
    raise TypeError(
        f'loss {name!r}: expected a tensor or a list of tensors, found {type(value).__name__}'
    )


def _check_number(names: list[str], device: torch.device) -> None:
    """Check that all processes have as many values: otherwise they would wait for each other forever."""
    lengths = torch.tensor([len(names), -len(names)], device=device)
    dist.all_reduce(lengths, dist.ReduceOp.MAX)
    highest, lowest = lengths.tolist()
    if highest != -lowest:
        raise RuntimeError(
            f'rank {dist.get_rank()} has {len(names)} losses and recalls, {names}, and other processes '
            f'have {-lowest} to {highest}: a head or a loss depends on the images of a process'
        )


def _join(features: Tensor | list[Tensor]) -> Tensor:
    """Concatenate the features of all images, (n, d) or (d,) each, to one (rows, d) float32."""
    if isinstance(features, Tensor):
        return features.float()
    return torch.cat([f.reshape(-1, f.shape[-1]).float() for f in features])
