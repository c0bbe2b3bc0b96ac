"""Linear layers that are fast where OAKE spends its time."""

__all__ = ['Linear']

import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """A linear layer with what follows it: an activation, or a sum. For inference only.

    A CPU's kernel wants the weight in an order of its own, into which ``nn.Linear`` brings it anew in
    every call. Here it is kept, and the activation or the sum is applied while the product is still
    in the cache, in float32. That saves a tenth of the time. The operators are oneDNN's, those that
    torch's own compiler uses; where this torch or processor has none, the plain ones compute the
    same.

    Args:
        weight: (out, in).
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(*reversed(weight.shape), bias=bias is not None, device='meta')
        self.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias, requires_grad=False)
        self._packed: Tensor | None = None

    def _apply(self, *args, **kwargs) -> 'Linear':
        self._packed = None  # of another dtype or device
        return super()._apply(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        if self._can_pack(x):
            return self._fused(x, self._pack(), self.bias, 'none', [], '')
        return super().forward(x)

    def silu(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out), with SiLU."""
        if self._can_pack(x):
            return self._fused(x, self._pack(), self.bias, 'swish', [], '')
        return functional.silu(super().forward(x))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """The sum of ``residual`` (…, out) and the product with ``x``."""
        if self._can_pack(x):
            return self._fused.binary(x, residual, self._pack(), self.bias, 'add')
        return residual + super().forward(x)

    @property
    def _fused(self):
        return torch.ops.mkldnn._linear_pointwise

    def _can_pack(self, x: Tensor) -> bool:
        return x.device.type == 'cpu' and _has_operators(x.dtype)

    def _pack(self) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight)
        return self._packed


def _has_operators(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and this processor the instructions for them."""
    operators = torch.ops.mkldnn
    names = ('_linear_pointwise', '_reorder_linear_weight', '_is_mkldnn_bf16_supported')
    return (
        (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)
        and all(hasattr(operators, name) for name in names)
        and (
            dtype == torch.float32
            or (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported())
        )
    )
