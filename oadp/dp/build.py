"""From a loaded config to a detector.

A config names the category set once; here it is looked up and handed down to the parts that need to
know how many categories there are and what they are called.
"""

__all__ = ['bind_categories', 'build_detector']

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from mmcv import ConfigDict
from mmdet.models import build_detector as build_mmdet_detector
from mmdet.models.utils.builder import LINEAR_LAYERS
from torch import nn

from ..categories import Categories, get_categories
from ..compat import sync_bn_to_bn
from ..config import to_plain
from .classifiers import BaseClassifier, load_prompts

T = TypeVar('T', bound=Mapping[str, Any])


def build_detector(config: Mapping[str, Any]) -> nn.Module:
    """Build the detector of a config, with weights as initialised by its modules' constructors.

    ``SyncBN`` needs a GPU and a process group; without them it is ``BN``, which has the same keys.

    Args:
        config: a whole loaded config; of it, ``model`` and ``categories`` are read. Not changed.

    Raises:
        ValueError: keys are missing, ``num_classes`` contradicts the categories, or prompt files
            lack names; all faults of a kind are listed.
        FileNotFoundError: prompt files that are not there.
    """
    missing = [key for key in ('model', 'categories') if key not in config]
    if missing:
        raise ValueError(f'the config has no {missing}; it has {sorted(config)}')
    model = to_plain(config['model'])
    if not (torch.cuda.is_available() and dist.is_available() and dist.is_initialized()):
        model = sync_bn_to_bn(model)
    model['categories'] = get_categories(config['categories'])
    return build_mmdet_detector(ConfigDict(model))


def bind_categories(config: T, categories: Categories) -> T:
    """A copy of a head's config with the category set in it.

    ``num_classes=None``, anywhere in it, becomes the number of categories. Each of our classifiers
    gets the categories, and ``out_features=None`` becomes their number (the classifiers of mmdet's
    heads have no such key: there, the head gives the number).

    Raises:
        ValueError, FileNotFoundError: see ``build_detector``.
    """
    bound = ConfigDict(to_plain(config))
    faults: list[Exception] = []
    for path, node in _dicts(bound, ''):
        for key in {'num_classes', 'out_features'} & set(node):
            if node[key] is None:
                node[key] = categories.num_all
        if 'num_classes' in node and node.num_classes != categories.num_all:
            faults.append(
                ValueError(
                    f'{path}num_classes is {node.num_classes}, and there are '
                    f'{categories.num_all} categories; None fills it in'
                )
            )
        if _is_classifier(node):
            node.categories = categories
            try:
                load_prompts(node.prompts, categories.all_)
            except (ValueError, FileNotFoundError) as e:
                faults.append(e)
    _raise(faults)
    return bound


def _dicts(node: Any, path: str) -> Iterator[tuple[str, ConfigDict]]:
    if isinstance(node, dict):
        yield path, node
        for key, value in list(node.items()):
            yield from _dicts(value, f'{path}{key}.')


def _is_classifier(node: ConfigDict) -> bool:
    kind = node.get('type')
    layer = LINEAR_LAYERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(layer, type) and issubclass(layer, BaseClassifier)


def _raise(faults: list[Exception]) -> None:
    messages = list(dict.fromkeys(map(str, faults)))
    if messages:
        only_files = all(isinstance(fault, FileNotFoundError) for fault in faults)
        raise (FileNotFoundError if only_files else ValueError)('; '.join(messages))
