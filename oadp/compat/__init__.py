"""Adapters between mmcv 1.x, mmdet 2.x, lvis, CLIP and current versions of torch and NumPy.

Those packages are no longer maintained, but OADP is a plugin for them. Each adapter is one small
function whose docstring says what fails without it. Importing this package has no effect: ``oadp.dp``
calls ``install()`` before it imports mmdet, and ``oadp.clip.weights`` calls ``prepare_clip()`` before it
imports clip. On the stack of the paper's authors (torch 1.12, mmcv-full 1.7.0, mmdet 2.25) the adapters
change no result.
"""

__all__ = [
    'PickledArray',
    'install',
    'load_pickled_arrays',
    'load_tensors',
    'locate_pickled_arrays',
    'not_arrays',
    'ops_in_use',
    'prepare_clip',
    'quiet_imports',
    'sync_bn_to_bn',
    'translate_config',
    'translate_location',
    'wrap_distributed',
]

from oadp.compat.adapters import install, ops_in_use, prepare_clip, quiet_imports
from oadp.compat.distributed import sync_bn_to_bn, wrap_distributed
from oadp.compat.loading import (
    load_pickled_arrays,
    load_tensors,
    locate_pickled_arrays,
    not_arrays,
)
from oadp.compat.pickled_arrays import PickledArray
from oadp.compat.reference_configs import translate_config, translate_location
