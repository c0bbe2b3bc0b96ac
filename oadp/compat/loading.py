"""Read files from untrusted sources without running code that they may contain.

Checkpoints, features and prompts are torch files; proposals are pickles. Files of both formats can name
any Python function to be called while they are read. This module admits only the functions that create
tensors, NumPy arrays and plain values.
"""

__all__ = [
    'add_safe_globals',
    'load_pickled_arrays',
    'load_tensors',
    'locate_pickled_arrays',
    'not_arrays',
]

import collections
import contextlib
import datetime
import errno
import functools
import inspect
import os
import pathlib
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import torch

from oadp.compat.pickled_arrays import LocatingUnpickler
from oadp.compat.safe_arrays import (
    PlainDtype,
    SafeArray,
    SafeUnpickler,
    admit_arrays,
    scalar,
    unpickle,
)

_NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')
"""The module of NumPy's functions in files of NumPy 1 and NumPy 2; each reads files of the other."""


_CONFIG_CLASSES = (
    'mmcv.utils.config.ConfigDict',
    'addict.addict.Dict',  # its base class
    'todd.base.configs.Config',
)
"""Dictionaries with attribute access that training code stores in ``meta``; read as plain ones."""
_HAS_WEIGHTS_ONLY = 'weights_only' in inspect.signature(torch.load).parameters  # torch >= 1.13


def _dtype_classes() -> list[type]:
    """Return the classes of dtypes that NumPy pickles with scalars, e.g. ``numpy.dtype[float64]``."""
    return sorted({type(np.dtype(c)) for c in np.typecodes['All']}, key=lambda c: c.__name__)


@functools.cache
def add_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read what training frameworks store with the weights.

    mmcv stores a ``meta`` dictionary and messages of hooks in a checkpoint: best scores as NumPy
    scalars, arrays, times, sets, configs. torch refuses them unless they are registered. NumPy's own
    functions would trust a forged array, so replacements are registered, which needs torch 2.5; with
    older versions, files with NumPy values are refused. Configs need torch 2.6.
    """
    if not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):  # torch before 2.5
        return
    plain = [
        np.ndarray,
        SafeArray,
        PlainDtype,
        *_dtype_classes(),
        datetime.date,
        datetime.datetime,
        datetime.timedelta,
        datetime.timezone,
        set,
        frozenset,
        dict,
        list,
        tuple,
        int,
        float,
        complex,
        slice,
    ]
    instead: list[Any] = [(PlainDtype, 'numpy.dtype')]
    for module in _NUMPY_MODULES:
        instead += [(SafeArray.empty, f'{module}._reconstruct'), (scalar, f'{module}.scalar')]
    # torch fills only three kinds of dictionaries, even if another class is registered.
    instead += [(collections.OrderedDict, name) for name in _CONFIG_CLASSES]
    torch.serialization.add_safe_globals([*plain, *instead])


def load_tensors(path: str | os.PathLike | BinaryIO, map_location: Any = 'cpu') -> Any:
    """Read a torch file of tensors, arrays and plain containers.

    Args:
        path: a ``.pth`` file (weights, features, prompts, or a checkpoint of mmcv), or an open file.
        map_location: see ``torch.load``.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated or not a torch file, or it names code that is not admitted.
    """
    if isinstance(path, (str, os.PathLike)):
        path = pathlib.Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file')
    add_safe_globals()
    if not _HAS_WEIGHTS_ONLY:
        raise ValueError(
            f'{path}: not read, as torch {torch.__version__} would run code that the file may hold; '
            'install torch 1.13 or later'
        )
    try:
        data = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as e:
        if not zipfile.is_zipfile(path) and 'GLOBAL' not in str(e):
            raise ValueError(f'{path}: not a readable torch file ({_reason(e)})') from e
        raise ValueError(
            f'{path}: refused, as it holds more than tensors, NumPy arrays and plain values '
            f'({_reason(e)}). If you trust where it comes from, rewrite it once, keeping the '
            f"weights: torch.save({{'state_dict': torch.load({str(path)!r}, map_location='cpu', "
            "weights_only=False)['state_dict']}, 'new.pth')"
        ) from e
    except Exception as e:  # a corrupt file may raise anything, even EINVAL
        is_disk = isinstance(e, OSError) and e.errno != errno.EINVAL
        if is_disk or isinstance(e, MemoryError) or 'CUDA' in str(e):  # not an error of the file
            raise
        raise ValueError(f'{path}: not a readable torch file ({_reason(e)})') from e
    return _without_attributes(data, set())


def _without_attributes(value: Any, seen: set[int]) -> Any:
    """Convert the dictionaries that replace configs to plain ones, at any depth.

    The items of a config are also its attributes, and one named ``keys`` or ``items`` would hide the
    method. A state dict's only attribute, ``_metadata``, is kept.
    """
    if id(value) in seen:
        return value
    if isinstance(value, collections.OrderedDict) and vars(value).keys() - {'_metadata'}:
        value = dict(collections.OrderedDict.items(value))
    if isinstance(value, (dict, list)):
        seen.add(id(value))
        entries = dict.items(value) if isinstance(value, dict) else enumerate(value)
        for key, item in list(entries):
            if isinstance(item, (dict, list, tuple)):
                value[key] = _without_attributes(item, seen)
    elif type(value) is tuple:
        value = tuple(_without_attributes(item, seen) for item in value)
    return value


def _reason(error: Exception) -> str:
    """Return the line of torch's message that describes the error."""
    lines = [line.strip() for line in str(error).splitlines()]
    advice = ('Weights only load failed', 'Please file an issue', 'Check the documentation')
    lines = [line for line in lines if line and not line.startswith(advice)]
    return lines[0] if lines else type(error).__name__


def load_pickled_arrays(path: str | os.PathLike) -> Any:
    """Read a pickle that consists of NumPy arrays, numbers, strings and plain containers.

    Args:
        path: such as ``data/coco/proposals/*.pkl``, a list with one (n, 5) array per image.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated, not a pickle, or names anything else. No code of it is run.
    """
    return _unpickle(pathlib.Path(path).expanduser(), SafeUnpickler)


def locate_pickled_arrays(path: str | os.PathLike) -> Any:
    """Read a pickle as ``load_pickled_arrays`` does, but leave the data of arrays in the file.

    Args:
        path: see ``load_pickled_arrays``.

    Returns:
        The content of the file, with a ``PickledArray`` for each array.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: see ``load_pickled_arrays``.
    """
    return _unpickle(pathlib.Path(path).expanduser(), LocatingUnpickler)


def _unpickle(path: pathlib.Path, unpickler: type[SafeUnpickler]) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with path.open('rb') as f, not_arrays(path):
        return unpickle(f, path.stat().st_size, admit_arrays, unpickler=unpickler)


@contextlib.contextmanager
def not_arrays(path: str | os.PathLike) -> Iterator[None]:
    """Name the file and what is expected in it in a ``ValueError`` about its content."""
    try:
        yield
    except ValueError as e:
        raise ValueError(
            f'{path}: expected a pickle of NumPy arrays of numbers in plain containers; found: {e}'
        ) from e
