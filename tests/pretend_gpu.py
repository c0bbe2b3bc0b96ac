"""A GPU for machines that have none: tensors that say they are on it, and compute on the CPU.

What it shows of code for a GPU: that no operation mixes devices, that half precision gets through,
and where the host waits for the device. What it cannot show: kernels, speed, streams, and gradients
(torch's autograd asks the driver for a stream).
"""

import contextlib
import os
import traceback
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

import oadp
from oadp.oake.encoder import ImageEncoder

GPU = torch.device('cuda', 0)
_waits: list[str] = []
_PACKAGE = os.path.dirname(oadp.__file__)
_CPU = torch.device('cpu')
_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_READS = {_aten._local_scalar_dense.default, _aten.nonzero.default}
"""The host waits for what they give: a number, a size."""


class _OnGPU(Tensor):
    """Wraps a tensor on the CPU, ``content``."""

    content: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, content: Tensor) -> '_OnGPU':
        wrapper = Tensor._make_wrapper_subclass(
            cls,
            content.size(),
            strides=content.stride(),
            storage_offset=content.storage_offset(),
            dtype=content.dtype,
            device=GPU,
        )
        wrapper.content = content
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    # torch's own ask the driver which device is the current one.
    def __getitem__(self, index: Any) -> '_OnGPU':
        return _OnGPU(self.content[_unwrap_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tensor) and value.dim() and not isinstance(value, _OnGPU):
            _note('setitem')
        self.content[_unwrap_index(index)] = _unwrap(value)

    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        if self.is_contiguous(memory_format=memory_format):
            return self
        return self.clone(memory_format=memory_format)

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        _note('new_tensor')
        return _OnGPU(torch.tensor(data, dtype=dtype or self.dtype))

    def __invert__(self) -> Tensor:
        return torch.bitwise_not(self)

    def copy_(self, source: Tensor, non_blocking: bool = False) -> '_OnGPU':
        _run(_aten.copy_.default, (self, source, non_blocking), {})
        return self

    def nonzero(self, as_tuple: bool = False) -> Any:
        _note('nonzero')
        return tree_map(_wrap, self.content.nonzero(as_tuple=as_tuple))

    def tolist(self) -> Any:
        _note('tolist')
        return self.content.tolist()


class _Mode(TorchDispatchMode):
    """Sees to what makes tensors on the GPU out of others."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _unwrap(x: Any) -> Any:
    return x.content if isinstance(x, _OnGPU) else x


def _unwrap_index(index: Any) -> Any:
    """The host waits for indices to be copied, and for masks to be counted."""
    for x in tree_leaves(index):
        if (
            isinstance(x, Tensor)
            and x.dim()
            and (not isinstance(x, _OnGPU) or x.dtype == torch.bool)
        ):
            _note('index')
    return tree_map(_unwrap, index)


def _wrap(x: Any) -> Any:
    return _OnGPU(x) if isinstance(x, Tensor) and not isinstance(x, _OnGPU) else x


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    reads_gpu = any(isinstance(x, _OnGPU) for x in tensors)
    if 'device' in kwargs and kwargs['device'] is not None:
        to_gpu = torch.device(kwargs['device']).type == 'cuda'
        kwargs = {**kwargs, 'device': _CPU, 'pin_memory': False}
        if func is _aten._to_copy.default:
            kwargs.pop('pin_memory')
    elif func is _aten.copy_.default:
        to_gpu = isinstance(args[0], _OnGPU)
    else:
        to_gpu = reads_gpu
    if reads_gpu and func not in _COPIES:
        _refuse_mixture(func, tensors)
    if func is _aten.copy_.default:
        crosses = to_gpu != isinstance(args[1], _OnGPU)
    else:
        crosses = func is _aten._to_copy.default and reads_gpu != to_gpu
    if (func in _READS and reads_gpu) or (crosses and not _is_non_blocking(func, args, kwargs)):
        _note(func)
    result = func(*tree_map(_unwrap, args), **tree_map(_unwrap, kwargs))
    if not to_gpu:
        return args[0] if func is _aten.copy_.default else result
    result = tree_map(_wrap, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if reads_gpu else result


def _refuse_mixture(func: Any, tensors: list[Tensor]) -> None:
    """As CUDA does, but for numbers. (Indices go another way.)"""
    strangers = [x for x in tensors if not isinstance(x, _OnGPU) and x.dim()]
    if strangers:
        raise RuntimeError(f'{func}: tensors on the GPU and on the CPU, {strangers[0].shape}')


def _is_non_blocking(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get('non_blocking') or func is _aten.copy_.default and args[2:3] == (True,))


def _note(what: Any) -> None:
    """That the host waits, and where in the project."""
    frames = [f for f in traceback.extract_stack() if f.filename.startswith(_PACKAGE)]
    where = f'{frames[-1].filename}:{frames[-1].lineno}' if frames else 'outside of the project'
    _waits.append(f'{what} at {where}')


def _nonzero(x: Tensor, *, as_tuple: bool = False) -> Any:
    return x.nonzero(as_tuple=as_tuple)


class _Event:
    """``torch.cuda.Event``, as far as extraction uses it."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


@contextlib.contextmanager
def pretend_gpu() -> Iterator[list[str]]:
    """Inside, ``GPU`` can be computed on, without gradients.

    Yields:
        What the host waited for so far, an operation and a line each.
    """
    _waits.clear()
    # Pretended tensors know no inference mode.
    forward = torch.no_grad()(ImageEncoder.forward.__wrapped__)
    cuda = dict(_lazy_init=lambda: None, Event=_Event)
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with (
            mock.patch.multiple(torch.cuda, **cuda),
            mock.patch.object(Tensor, 'pin_memory', lambda self: self),
            mock.patch.object(torch, 'nonzero', _nonzero),
            mock.patch.object(ImageEncoder, 'forward', forward),
            torch.backends.cudnn.flags(enabled=False),  # BatchNorm's has no kernel on the CPU
            torch.no_grad(),
            _Mode(),
        ):
            yield _waits
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
