"""Choose the number format of the encoder."""

__all__ = ['PRECISIONS', 'resolve_precision']

import pathlib

import torch

_DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
PRECISIONS = ('auto', *_DTYPES)

_FAST_BF16 = {'avx512_bf16', 'amx_bf16'}
"""Instruction sets, by their names in Linux, for which torch has bf16 kernels; without them bf16 is slow."""


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a ``precision`` in a config.

    Args:
        precision: one of ``PRECISIONS``. ``auto`` is fp16 on a GPU; on a CPU it is bf16 if the
            processor has instructions for bf16, otherwise fp32.
        device: device of the encoder.

    Raises:
        ValueError: unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'unknown precision {precision!r}; choose from {PRECISIONS}')
    if precision != 'auto':
        return _DTYPES[precision]
    if device.type == 'cuda':
        return torch.float16
    return torch.bfloat16 if _FAST_BF16 & _cpu_flags() else torch.float32


def _cpu_flags() -> set[str]:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith('flags')), set())
