"""From a loaded config to a detector."""

__all__ = ['build_detector']

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmcv import ConfigDict
from mmdet.models import DETECTORS
from mmdet.models import build_detector as build_mmdet_detector
from torch import nn

from oadp.categories import get_categories
from oadp.compat import sync_bn_to_bn
from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.models.detectors import ViLD
from oadp.utils.config import to_plain


def build_detector(config: Mapping[str, Any]) -> nn.Module:
    """Build the detector of a config; its weights are as its modules' constructors leave them.

    ``SyncBN`` needs a GPU and a process group; without them it is ``BN``, which has the same keys.

    Args:
        config: a whole loaded config; of it, ``model`` and ``categories`` are read. Not changed.
            Any of mmdet's detectors will do, which know nothing of categories.

    Raises:
        ValueError: keys are missing, the type is unknown, ``num_classes`` contradicts the
            categories, or prompt files lack names; all faults of a kind are listed.
        FileNotFoundError: prompt files that are not there.
    """
    import_custom_modules(config)
    if 'model' not in config:
        raise ValueError(f"the config has no 'model'; it has {sorted(config)}")
    model = to_plain(config['model'])
    kind = DETECTORS.get(str(model.get('type')))
    if kind is None:
        raise ValueError(
            f"model.type is {model.get('type')!r}: expected 'ViLD', 'OADP' or a detector of mmdet"
        )
    if not (torch.cuda.is_available() and dist.is_available() and dist.is_initialized()):
        model = sync_bn_to_bn(model)
    if issubclass(kind, ViLD):
        if 'categories' not in config:
            raise ValueError(
                "the config has no 'categories'; expected 'coco', 'lvis' or the path of a JSON file"
            )
        model['categories'] = get_categories(config['categories'])
    return build_mmdet_detector(ConfigDict(model))
