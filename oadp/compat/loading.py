"""Reading files that others wrote, without running code that they may hold.

Checkpoints, features and prompts are torch files; proposals are pickles. Both formats can name any
Python function to be called while they are read. Here, only those that make tensors, NumPy arrays
and plain values are admitted.
"""

__all__ = ['add_safe_globals', 'load_pickled_arrays', 'load_tensors']

import collections
import datetime
import errno
import functools
import inspect
import os
import pathlib
import pickle
import zipfile
from typing import Any, BinaryIO

import numpy as np
import torch

from oadp.compat.safe_arrays import PlainDtype, SafeArray, admit_arrays, scalar, unpickle

_NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')
"""Where NumPy 1 and NumPy 2 say that arrays are made; either reads the other's files."""


_CONFIG_CLASSES = (
    'mmcv.utils.config.ConfigDict',
    'addict.addict.Dict',  # what mmcv's is made of
    'todd.base.configs.Config',
)
"""Dictionaries with attribute access that training code leaves in ``meta``; read as plain ones."""
_HAS_WEIGHTS_ONLY = 'weights_only' in inspect.signature(torch.load).parameters  # torch >= 1.13


def _dtype_classes() -> list[type]:
    """NumPy pickles a scalar with the class of its dtype, e.g. ``numpy.dtype[float64]``."""
    return sorted({type(np.dtype(c)) for c in np.typecodes['All']}, key=lambda c: c.__name__)


@functools.cache
def add_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read what training frameworks put beside the weights.

    mmcv keeps a ``meta`` dictionary and hooks' messages in a checkpoint: best scores as NumPy
    scalars, arrays, times, sets, configs. torch refuses them unless they are named. NumPy's own
    functions would trust a forged array, so others are called in their place, which torch knows how
    to do since 2.5; before, files with NumPy values are refused. Configs need torch 2.6.
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
    # torch fills in no dictionaries but its own three kinds, even where a class is admitted.
    instead += [(collections.OrderedDict, name) for name in _CONFIG_CLASSES]
    torch.serialization.add_safe_globals([*plain, *instead])


def load_tensors(path: str | os.PathLike | BinaryIO, map_location: Any = 'cpu') -> Any:
    """Read a torch file of tensors, arrays and plain containers.

    Args:
        path: a ``.pth`` file: weights, features, prompts, or a checkpoint of mmcv; or an open one.
        map_location: as of ``torch.load``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: cut off or not a torch file, or it names code that is not admitted.
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
    except Exception as e:  # garbage makes torch's unpickler stumble in many ways, such as EINVAL
        is_disk = isinstance(e, OSError) and e.errno != errno.EINVAL
        if is_disk or isinstance(e, MemoryError) or 'CUDA' in str(e):  # the file is not to blame
            raise
        raise ValueError(f'{path}: not a readable torch file ({_reason(e)})') from e
    return _without_attributes(data, set())


def _without_attributes(value: Any, seen: set[int]) -> Any:
    """Turn what was read in place of a config into a plain dictionary, at any depth.

    A config's items are read as attributes, too, and one named ``keys`` or ``items`` would stand
    before the method. A state dict's only attribute, ``_metadata``, is kept.
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
    """The line of torch's several that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines()]
    advice = ('Weights only load failed', 'Please file an issue', 'Check the documentation')
    lines = [line for line in lines if line and not line.startswith(advice)]
    return lines[0] if lines else type(error).__name__


def load_pickled_arrays(path: str | os.PathLike) -> Any:
    """Read a pickle made of NumPy arrays, numbers, strings and plain containers alone.

    Args:
        path: such as ``data/coco/proposals/*.pkl``, a list with one (n, 5) array an image.

    Raises:
        FileNotFoundError: no such file.
        ValueError: cut off or not a pickle, or it names anything else; nothing of it has been run.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    with path.open('rb') as f:
        try:
            return unpickle(f, path.stat().st_size, admit_arrays)
        except ValueError as e:
            raise ValueError(
                f'{path}: expected a pickle of NumPy arrays of numbers in plain containers; found: {e}'
            ) from e
