"""Fill the category set into the configs of the heads and classifiers.

A config names the category set once and has ``num_classes=None`` in the heads.
"""

__all__ = ['bind_categories']

from collections.abc import Iterator, Mapping
from typing import Any

from mmcv import ConfigDict
from mmdet.models.utils.builder import LINEAR_LAYERS

from oadp.categories import Categories
from oadp.dp.models.classifiers import BaseClassifier, load_prompts


def bind_categories(config: Mapping[str, Any], categories: Categories) -> ConfigDict:
    """Return a copy of the config of a head, with the category set filled in.

    Each ``num_classes=None`` becomes the number of categories. Each ``BaseClassifier`` gets the
    categories, and its ``out_features=None`` becomes their number (classifiers of mmdet's heads have
    no such key, as the head passes the number).

    Raises:
        ValueError: ``num_classes`` contradicts the categories, or prompt files lack names; the
            message lists all faults.
        FileNotFoundError: prompt files are missing, and there is no other fault.
    """
    bound = ConfigDict(config)  # a deep copy
    faults: list[Exception] = []
    for path, node in _dicts(bound, ''):
        for key in {'num_classes', 'out_features'} & set(node):
            if node[key] is None:
                node[key] = categories.num_all
        if 'num_classes' in node and node.num_classes != categories.num_all:
            faults.append(
                ValueError(
                    f'{path}num_classes is {node.num_classes}, expected {categories.num_all}, the '
                    'number of categories; None fills it in'
                )
            )
        if _is_classifier(node):
            node.categories = categories
            try:
                load_prompts(_prompts(node, path), categories.all_)
            except (ValueError, FileNotFoundError) as e:
                faults.append(e)
    _raise(faults)
    return bound


def _dicts(node: Any, path: str) -> Iterator[tuple[str, ConfigDict]]:
    if isinstance(node, dict):
        yield path, node
        for key, value in list(node.items()):
            yield from _dicts(value, f'{path}{key}.')
    elif isinstance(node, (list, tuple)):  # the box heads of a cascade
        for i, value in enumerate(node):
            yield from _dicts(value, f'{path.removesuffix(".")}[{i}].')


def _is_classifier(node: ConfigDict) -> bool:
    kind = node.get('type')
    layer = LINEAR_LAYERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(layer, type) and issubclass(layer, BaseClassifier)


def _prompts(node: ConfigDict, path: str) -> str:
    if 'prompts' not in node:
        raise ValueError(f'{path}prompts is missing: expected the path of a prompt file')
    return node.prompts


def _raise(faults: list[Exception]) -> None:
    messages = list(dict.fromkeys(map(str, faults)))
    if messages:
        only_files = all(isinstance(fault, FileNotFoundError) for fault in faults)
        raise (FileNotFoundError if only_files else ValueError)('; '.join(messages))
