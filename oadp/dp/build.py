"""Build a detector from a config."""

__all__ = ['build_detector']

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmcv import ConfigDict
from mmdet.models import DETECTORS
from mmdet.models import build_detector as build_mmdet_detector
from torch import nn

from oadp.categories import config_categories
from oadp.compat import sync_bn_to_bn
from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.models.detectors import ViLD
from oadp.utils.config import section, to_plain


def build_detector(config: Mapping[str, Any]) -> nn.Module:
    """Build the detector of a config, with the weights that its modules' constructors set.

    ``SyncBN`` needs a GPU and a process group; without them it becomes ``BN``, which has the same
    keys.

    Args:
        config: a whole config, as a ``todd.Config`` or another mapping; ``model`` and
            ``categories`` are read. It is not modified. Detectors of mmdet need no
            ``categories``.

    Raises:
        ValueError: keys are missing, the type is unknown, ``num_classes`` contradicts the
            categories, or prompt files lack names; the message lists all faults of a kind.
        FileNotFoundError: prompt files are missing.
    """
    import_custom_modules(config)
    model = to_plain(section(config, '.model'))
    kind = DETECTORS.get(str(model.get('type')))
    if kind is None:
        raise ValueError(
            f"model.type is {model.get('type')!r}: expected 'ViLD', 'OADP' or a detector of mmdet"
        )
    if not (torch.cuda.is_available() and dist.is_available() and dist.is_initialized()):
        model = sync_bn_to_bn(model)
    if issubclass(kind, ViLD):
        model['categories'] = config_categories(config)
    return build_mmdet_detector(ConfigDict(model))
