"""Translate config files in the format of the authors' code to this project's format.

The authors' configs and these have the same keys; a few values differ, because the classes that they
name (todd's access layers, torchvision-style datasets) do not exist here. This module contains all
differences, and each translation is reported with the spelling of this project.
"""

__all__ = ['translate_config', 'translate_location']

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

_DATASET_TYPES = {'COCODataset': 'COCO', 'LVISDataset': 'LVIS'}
"""OAKE's ``dataset.type``: the authors' name and ours."""

_ACCESS_LAYER = 'PthAccessLayer'
_ACCESS_LAYER_OPTIONS = ('type', 'codec', 'readonly', 'exist_ok')
"""Of todd's access layers; feature files are only read, as torch wrote them."""

_KINDS = ('globals_', 'blocks', 'objects')


def translate_config(config: MutableMapping[str, Any]) -> list[str]:
    """Translate a config in place. A config in this project's format is not changed.

    Args:
        config: of ``oadp.oake`` or ``oadp.dp``.

    Returns:
        A line for each changed value, with its key and the new spelling.

    Raises:
        ValueError: an access layer other than ``PthAccessLayer``.
    """
    lines: list[str] = []
    for split in ('train', 'val'):
        dataset = _get(config, split, 'dataloader', 'dataset')
        if isinstance(dataset, MutableMapping) and 'annFile' in dataset:
            # Optional keys; an override must name an existing key.
            config.setdefault('precision', 'auto')
            dataset.setdefault('auto_fix', False)
            lines += _translate_dataset(dataset, f'.{split}.dataloader.dataset')
    for part in ('trainer', 'validator'):
        dataset = _get(config, part, 'dataloader', 'dataset')
        for step, key in _steps(dataset, f'.{part}.dataloader.dataset'):
            lines += _translate_step(step, key)
    return lines


def _get(node: Any, *keys: str) -> Any:
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _translate_dataset(dataset: MutableMapping[str, Any], key: str) -> Iterator[str]:
    if (old := dataset.get('type')) in _DATASET_TYPES:
        dataset['type'] = new = _DATASET_TYPES[old]
        yield f'{key}.type={old!r} is read as {new!r}'


def _steps(node: Any, key: str) -> Iterator[tuple[MutableMapping[str, Any], str]]:
    """Yield the steps ``LoadCLIPFeatures`` within dataset wrappers and lists, with their keys."""
    if isinstance(node, MutableMapping):
        if node.get('type') == 'LoadCLIPFeatures':
            yield node, key
        for name in ('dataset', 'datasets', 'pipeline'):
            yield from _steps(node.get(name), f'{key}.{name}')
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _steps(item, f'{key}[{i}]')


def _translate_step(step: MutableMapping[str, Any], key: str) -> Iterator[str]:
    for name in ('default', *_KINDS):
        location = step.get(name)
        if isinstance(location, Mapping) and 'type' in location:
            step[name], line = translate_location(location, f'{key}.{name}')
            yield line


def translate_location(location: Mapping[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Translate the location of one kind of features in ``LoadCLIPFeatures``.

    The authors' code derives the validation split's folder from the training split's.

    Args:
        location: has ``type`` and possibly other options of todd's access layers. Not changed.
        key: its key in the config.

    Returns:
        The location in this project's format, and a line that describes the changes.

    Raises:
        ValueError: an access layer other than ``PthAccessLayer``.
    """
    kind = location['type']
    if kind != _ACCESS_LAYER:
        raise ValueError(
            f'{key}.type is {kind!r}: expected no type, or {_ACCESS_LAYER!r}; features are read from '
            'files {image id:012d}.pth in a folder, or from one packed file (README, "OAKE")'
        )
    new = {k: v for k, v in location.items() if k not in _ACCESS_LAYER_OPTIONS}
    dropped = ', '.join(f'{k}={v!r}' for k, v in location.items() if k not in new)
    line = f'{key}: {dropped} is ignored, as features are always read from files'
    task = new.get('task_name')
    if isinstance(task, str) and 'train' in task and 'val_task_name' not in new:
        new['val_task_name'] = task.replace('train', 'val')
        line += f', and val_task_name={new["val_task_name"]!r} names the validation split'
    return new, line
