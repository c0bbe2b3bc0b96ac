"""Read the tensors of a TorchScript archive without running its code.

``torch.jit.load`` compiles the code of an archive, and runs the ``__setstate__`` of its modules. An
archive is a zip file: ``data.pkl`` is a pickle of the modules as plain objects, the files ``data/N``
contain the bytes of the tensors, and the code lists which attributes of a module are parameters and
buffers. This module reads only these parts.
"""

__all__ = ['is_archive', 'read_archive']

import ast
import collections
import io
import math
import os
import pathlib
import pickle
import re
import zipfile
from typing import Any

import torch
from torch import Tensor

from oadp.compat.safe_arrays import unpickle

_DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}
_MAX_TEXT = (
    64 << 20
)  # bytes of the pickle or of a code file; those of CLIP have less than one million
_MAX_RATIO = 16  # uncompressed to compressed size; weights hardly compress
_CLASS = re.compile(
    r'^class (\w+)\(Module\):\n  __parameters__ = (\[.*?\])\n(?:  __buffers__ = (\[.*?\])\n)?',
    re.MULTILINE,
)


class _Module:
    """A module of the archive: the name of its type, and its attributes, without its code."""

    is_archived = True
    qualified_name = ''

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __new__(cls) -> '_Module':
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise pickle.UnpicklingError(
                f'{self.qualified_name}: expected a state that is a dict of attributes, found one that only '
                'the code of the module can read'
            )
        self.attributes = state


def is_archive(path: str | os.PathLike) -> bool:
    """Return whether a file is a TorchScript archive: a zip file that contains code."""
    try:
        with zipfile.ZipFile(path) as file:
            return any('/code/' in name for name in file.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def read_archive(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the state dict of a TorchScript archive, equal to ``torch.jit.load(path).state_dict()``.

    Args:
        path: an archive written by ``torch.jit.save``, such as OpenAI's CLIP archives.

    Returns:
        Name to parameter or buffer, on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError: the archive is broken, or a module stores anything other than attributes.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            _check_sizes(file, path.stat().st_size)
            return _Reader(file).state_dict()
    except OSError:
        raise
    except Exception as e:  # zipfile and zlib raise errors of many kinds for damaged files
        raise ValueError(
            f'{path}: expected a TorchScript archive that can be read without running its code, found '
            f'another ({str(e) or type(e).__name__}); download it again, or, if you trust its source, '
            f'convert it: torch.save(torch.jit.load({str(path)!r}).state_dict(), ...)'
        ) from e


def _check_sizes(file: zipfile.ZipFile, size: int) -> None:
    total = sum(info.file_size for info in file.infolist())
    if total > _MAX_RATIO * size + _MAX_TEXT:
        raise ValueError(f'{size} bytes that would decompress to {total}')


class _Reader:
    """Reader of one archive."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        roots = [
            n[: -len('data.pkl')] for n in file.namelist() if re.fullmatch('[^/]+/data.pkl', n)
        ]
        if len(roots) != 1:
            raise ValueError('no data.pkl in its top-level folder')
        self._root = roots[0]
        self._storages: dict[str, Tensor] = {}
        self._types: dict[str, type[_Module]] = {}
        self._listed: dict[str, tuple[list[str], list[str]] | None] = {}

    def state_dict(self) -> dict[str, Tensor]:
        data = self._text('data.pkl')
        module = unpickle(io.BytesIO(data), len(data), self._admit, self._storage)
        if not isinstance(module, _Module):
            raise ValueError(f'a {type(module).__name__}, expected a module')
        state: dict[str, Tensor] = {}
        self._collect(module, '', state, ())
        return state

    def _text(self, name: str) -> bytes:
        info = self._file.getinfo(self._root + name)
        if info.file_size > _MAX_TEXT:
            raise ValueError(f'{name} has {info.file_size} bytes, expected less than {_MAX_TEXT}')
        return self._file.read(info)

    def _admit(self, module: str, name: str) -> Any:
        """Return the object for a name in the pickle."""
        if module == '__torch__' or module.startswith('__torch__.'):
            qualified = f'{module}.{name}'
            if qualified not in self._types:
                self._types[qualified] = type(name, (_Module,), {'qualified_name': qualified})
            return self._types[qualified]
        if module == 'torch' and name in _DTYPES:
            return _DTYPES[name]
        try:
            return _FUNCTIONS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f'{module}.{name} is neither a tensor nor a module'
            ) from None

    def _storage(self, reference: Any) -> Tensor:
        kind, dtype, key, _, count = reference
        if kind != 'storage' or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError(f'a reference to {kind!r:.40}')
        if key not in self._storages:
            data = self._file.read(f'{self._root}data/{key}')
            if len(data) != count * torch.empty(0, dtype=dtype).element_size():
                raise ValueError(f'data/{key} has {len(data)} bytes, expected {count} of {dtype}')
            self._storages[key] = (
                torch.frombuffer(bytearray(data), dtype=dtype)
                if data
                else torch.empty(0, dtype=dtype)
            )
        storage = self._storages[key]
        if storage.dtype != dtype:
            raise ValueError(f'data/{key} is {storage.dtype} and {dtype}')
        return storage

    def _collect(
        self, module: _Module, prefix: str, state: dict[str, Tensor], above: tuple[_Module, ...]
    ) -> None:
        """Add the tensors of a module and of its submodules, in the order of ``state_dict()``."""
        if module in above:
            raise ValueError(f'{prefix} contains itself')
        attributes = module.attributes
        listed = self._lists(module.qualified_name)
        names = [n for n, value in attributes.items() if isinstance(value, Tensor)]
        if listed is not None:
            names = [n for part in listed for n in part if isinstance(attributes.get(n), Tensor)]
        state.update({prefix + name: attributes[name] for name in names})
        for name, value in attributes.items():
            if isinstance(value, _Module):
                self._collect(value, f'{prefix}{name}.', state, (*above, module))

    def _lists(self, qualified_name: str) -> tuple[list[str], list[str]] | None:
        """Return the names of parameters and buffers that the code of a class lists; None if it lists none."""
        if qualified_name not in self._listed:
            module, _, name = qualified_name.rpartition('.')
            file = f'code/{module.replace(".", "/")}.py'
            self._listed[qualified_name] = None
            if self._root + file in self._file.namelist():
                for found in _CLASS.finditer(self._text(file).decode()):
                    if found[1] == name and found[3] is not None:
                        lists = ast.literal_eval(found[2]), ast.literal_eval(found[3])
                        self._listed[qualified_name] = lists
        return self._listed[qualified_name]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """Replace torch's ``_rebuild_tensor_v2``: return a view of a storage, within its bounds."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Tensor) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError('a tensor with arguments of other types')
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.numel() or count > storage.numel()):
        raise ValueError(
            f'a tensor of {size} that exceeds its storage of {storage.numel()} numbers'
        )
    return torch.as_strided(storage, size, stride, offset)


def _same(value: Any, *_: Any) -> Any:
    return value


_FUNCTIONS = {
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch', 'device'): str,
    # With these, TorchScript stores the type of a value or of the items of a list.
    **{
        ('torch.jit._pickle', name): _same
        for name in (
            'build_boollist',
            'build_doublelist',
            'build_intlist',
            'build_tensorlist',
            'restore_type_tag',
        )
    },
}
