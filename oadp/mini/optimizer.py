"""How the benchmark's CLIP is trained: sizes, schedule, and the optimisers behind one step.

With AdamW for all weights the teacher needs three times the steps: it named 81 % of near crops after
1,600 steps, and with Muon for the transformers' matrices after 600.
"""

__all__ = ['Teacher', 'TeacherOptimizer']

import dataclasses
import math

import torch
from torch import Tensor, nn

MAX_NORM = 1.0  # of the gradient


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Sizes and schedule.

    Attributes:
        images: pictures drawn to learn from.
        windows: share of the crops that are not around an object.
        iterations: steps of the optimiser.
        primer: of these, the first ones: objects that fill the crop, and nothing but their names. A
            network this small does not find out what words mean from crowded crops in that time.
        batch: crops of a step.
        lr: greatest learning rate, of a linear warm-up and a cosine decay.
        matrix_lr: the same for the matrices within the transformers, which Muon updates.
        max_scale: bound of the factor of the cosine similarities. Low, so that the names of
            different classes must be far apart.
    """

    embedding: int = 64
    resolution: int = 48
    patch: int = 8
    width: int = 64
    layers: int = 3
    text_width: int = 64
    text_layers: int = 2
    context_length: int = 24
    images: int = 3000
    windows: float = 0.3
    iterations: int = 2600
    primer: int = 200
    batch: int = 64
    lr: float = 2.5e-3
    matrix_lr: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.05
    max_scale: float = 15.0


class TeacherOptimizer:
    """Muon for the transformers' matrices, AdamW for the rest; words that a step does not use are left alone.

    All with the same warm-up and cosine. Gradients are bounded, but for those of the words.

    Args:
        model: a ``clip.model.CLIP`` whose token embedding has sparse gradients.
        spec: learning rates and schedule.

    Raises:
        RuntimeError: this torch has no Muon.
    """

    def __init__(self, model: nn.Module, spec: Teacher) -> None:
        words = model.token_embedding.weight
        named = [(name, p) for name, p in model.named_parameters() if p is not words]
        self._others = [p for _, p in named]
        matrices = [p for name, p in named if p.ndim == 2 and '.resblocks.' in name]
        rest = [p for name, p in named if not (p.ndim == 2 and '.resblocks.' in name)]
        decayed = [p for p in rest if p.ndim >= 2]
        kept = [p for p in rest if p.ndim < 2]
        betas = (0.9, 0.98)
        self._optimizers = [
            torch.optim.AdamW(
                [dict(params=decayed), dict(params=kept, weight_decay=0.0)],
                spec.lr,
                betas=betas,
                weight_decay=spec.weight_decay,
            ),
            _muon()(
                matrices, spec.matrix_lr, weight_decay=spec.weight_decay, momentum=0.9, ns_steps=4
            ),
            torch.optim.SparseAdam([words], spec.lr, betas=betas),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, spec))
            for optimizer in self._optimizers
        ]

    def step(self, loss: Tensor) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._others, MAX_NORM)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()


def _muon() -> type[torch.optim.Optimizer]:
    if not hasattr(torch.optim, 'Muon'):
        raise RuntimeError(
            f"the benchmark's CLIP is trained with torch.optim.Muon, which torch {torch.__version__} "
            'lacks: torch 2.9 or later is needed (`make install` brings it)'
        )
    return torch.optim.Muon


def _rate(step: int, spec: Teacher) -> float:
    """The learning rate at a step, as a part of the greatest."""
    if step < spec.warmup:
        return (step + 1) / spec.warmup
    done = (step - spec.warmup) / max(spec.iterations - spec.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
