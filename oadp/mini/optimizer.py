"""How the benchmark's CLIP is trained: sizes, schedule, and the optimisers behind one step.

With AdamW for all weights the teacher needs three times the steps: it named 81 % of near crops after
1,600 steps, and with Muon for the transformers' matrices after 600.
"""

__all__ = ['TeacherOptimizer']

import math

import torch
from torch import Tensor, nn

from .settings import Teacher

MAX_NORM = 1.0  # of the gradient


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
