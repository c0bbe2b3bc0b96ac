"""A GPU for machines that have none: tensors that say they are on it, and compute on the CPU.

What it shows of code for a GPU: that no operation mixes devices, that half precision gets through,
and where the host waits for the device. What it cannot show: kernels, speed, streams, and gradients
(torch's autograd asks the driver for a stream).
"""

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device('cuda', 0)
_CPU = torch.device('cpu')
_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_READS = {_aten._local_scalar_dense.default, _aten.nonzero.default}
"""The host waits for what they give: a number, a size."""
_INDEXES = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
_SOFTMAXES = {_aten._softmax.default, _aten._log_softmax.default}


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
        return _run(func, args, kwargs or {}, None)

    # torch's own ask the driver which device is the current one.
    def __getitem__(self, index: Any) -> '_OnGPU':
        return _OnGPU(self.content[tree_map(_unwrap, index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.content[tree_map(_unwrap, index)] = _unwrap(value)


class _Mode(TorchDispatchMode):
    """Sees to what makes tensors on the GPU out of others, and notes what waits."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, self._waits)


def _unwrap(x: Any) -> Any:
    return x.content if isinstance(x, _OnGPU) else x


def _wrap(x: Any) -> Any:
    return _OnGPU(x) if isinstance(x, Tensor) and not isinstance(x, _OnGPU) else x


def _run(func: Any, args: tuple, kwargs: dict[str, Any], waits: list[str] | None) -> Any:
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
    if waits is not None and (
        (func in _READS and reads_gpu) or (crosses and not _is_non_blocking(func, args, kwargs))
    ):
        waits.append(f'{func} at {_line()}')
    result = _compute(func, tree_map(_unwrap, args), tree_map(_unwrap, kwargs))
    if not to_gpu:
        return args[0] if func is _aten.copy_.default else result
    result = tree_map(_wrap, result)
    return return_and_correct_aliasing(func, args, kwargs, result) if reads_gpu else result


def _refuse_mixture(func: Any, tensors: list[Tensor]) -> None:
    """As CUDA does, but for numbers, and for indices on the CPU."""
    strangers = [x for x in tensors if not isinstance(x, _OnGPU) and x.dim()]
    if func in _INDEXES and isinstance(tensors[0], _OnGPU):
        return
    if strangers:
        raise RuntimeError(f'{func}: tensors on the GPU and on the CPU, {strangers[0].shape}')


def _is_non_blocking(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get('non_blocking') or func is _aten.copy_.default and args[2:3] == (True,))


def _line() -> str:
    """Where in the project."""
    frames = [f for f in traceback.extract_stack() if '/oadp/' in f.filename]
    return f'{frames[-1].filename}:{frames[-1].lineno}' if frames else 'another package'


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    if func in _SOFTMAXES and args[2]:  # from half precision to float32, in one kernel of CUDA's
        args = (args[0].float(), args[1], False)
    return func(*args, **kwargs)


class _Event:
    """``torch.cuda.Event``, as far as extraction uses it."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


@contextlib.contextmanager
def pretend_gpu() -> Iterator[list[str]]:
    """Inside, ``torch.device('cuda', 0)`` can be computed on, without gradients.

    Yields:
        What the host waited for so far, an operation and a line each.
    """
    waits: list[str] = []
    make_tensor, to_list = torch.tensor, Tensor.tolist

    def tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
        made = make_tensor(data, dtype=dtype)
        return made if device is None else made.to(device)

    def new_tensor(self: Tensor, data: Any, dtype: Any = None, device: Any = None) -> Tensor:
        return tensor(data, dtype or self.dtype, device or self.device)

    cuda = dict(
        is_available=lambda: True,
        device_count=lambda: 1,
        set_device=lambda device: None,
        _lazy_init=lambda: None,
        Event=_Event,
    )
    methods = dict(
        pin_memory=lambda self: self,
        new_tensor=new_tensor,
        tolist=lambda self: to_list(_unwrap(self)),
    )
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with (
            mock.patch.multiple(torch.cuda, **cuda),
            mock.patch.multiple(Tensor, **methods),
            mock.patch.object(torch, 'tensor', tensor),
            torch.backends.cudnn.flags(enabled=False),
            torch.no_grad(),
            _Mode(waits),
        ):
            yield waits
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
