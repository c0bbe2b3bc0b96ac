"""Config files in the form of the authors' code, translated to this project's.

The authors' configs and these share their keys; a few values differ, because what they name (todd's
access layers, torchvision-style datasets) has no counterpart here. Everything that differs is in
this module, and each translation says how to write it here.
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
    """Translate a whole config in place; does nothing to one of this project's form.

    Args:
        config: of ``oadp.oake`` or ``oadp.dp``.

    Returns:
        A line on each value that was changed, with its key and the new spelling.

    Raises:
        ValueError: an access layer other than ``PthAccessLayer``.
    """
    lines = []
    for split in ('train', 'val'):
        dataset = _get(config, split, 'dataloader', 'dataset')
        if isinstance(dataset, MutableMapping) and 'annFile' in dataset:
            # Optional keys that a command line may override, which must name what is there.
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
        yield f'{key}.type={old!r} is written {new!r} here'


def _steps(node: Any, key: str) -> Iterator[tuple[MutableMapping[str, Any], str]]:
    """The steps ``LoadCLIPFeatures`` within dataset wrappers and lists, and where they are."""
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
    """Translate where ``LoadCLIPFeatures`` finds a kind of features.

    The authors' code derives the validation split's folder from the training split's.

    Args:
        location: with ``type``, and others of todd's options of an access layer. Not changed.
        key: where it is in the config.

    Returns:
        The location in this project's form, and a line on what changed.

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
    line = f'{key}: {dropped} is left out here, as files are all that is read'
    task = new.get('task_name')
    if isinstance(task, str) and 'train' in task and 'val_task_name' not in new:
        new['val_task_name'] = task.replace('train', 'val')
        line += f', and val_task_name={new["val_task_name"]!r} names the validation split'
    return new, line
