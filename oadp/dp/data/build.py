"""Build the datasets of a config, with what the environment, the model and the split change in it."""

__all__ = ['build_dataset', 'resolve_dataset']

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mmdet.datasets import build_dataset as build_mmdet_dataset

from oadp.dp.custom_imports import import_custom_modules
from oadp.dp.data.clip_features import without_unused_features
from oadp.dp.data.datasets import OV_COCO, OV_LVIS
from oadp.dp.data.image_reading import with_own_reader
from oadp.dp.models.distillation import features_used
from oadp.utils import runtime
from oadp.utils.config import section, to_plain

_DRY_RUN_IMAGES = 4  # images of a dataset in `DRY_RUN`: two steps of two images
_OPEN_VOCABULARY = {cls.__name__ for cls in (OV_COCO, OV_LVIS)}
_DISTILLED = ('ViLD', 'OADP')  # the detectors that use CLIP features, as their configs specify
_KEYS = ('trainer', 'validator', 'categories', 'model')
_LOCATIONS = ('data_root', 'ann_file', 'img_prefix', 'seg_prefix', 'proposal_file')


def build_dataset(config: Mapping[str, Any], split: Literal['train', 'val'] = 'train') -> Any:
    """Build a dataset of a config.

    With ``TRAIN_WITH_VAL_DATASET``, the training dataset reads the validation files; with
    ``DRY_RUN``, it has a few images. Both also apply to datasets within wrappers of mmdet. CLIP
    features that no head or loss of ViLD or OADP uses are not loaded.

    Args:
        config: a whole config, as a ``todd.Config`` or another mapping; the dataset of the split,
            ``categories`` and ``model`` are read. It is not modified.
        split: ``train`` or ``val``.

    Raises:
        ValueError: unknown split; see also the datasets.
        FileNotFoundError: see the datasets.
    """
    import_custom_modules(config)
    return build_mmdet_dataset(resolve_dataset(config, split))


def resolve_dataset(
    config: Mapping[str, Any], split: Literal['train', 'val'] = 'train'
) -> dict[str, Any]:
    """Return the config from which mmdet builds the dataset of :func:`build_dataset`.

    Raises:
        ValueError: unknown split.
    """
    if split not in ('train', 'val'):
        raise ValueError(f'unknown split {split!r}; choose from train, val')
    config = to_plain({key: config[key] for key in _KEYS if key in config})
    dataset = _dataset_config(config, split)
    model = config.get('model') or {}
    for inner in _inner_datasets(dataset):
        inner.setdefault('test_mode', split == 'val')
        if 'pipeline' in inner:  # of any dataset of mmdet
            inner['pipeline'] = with_own_reader(inner['pipeline'])
            if split == 'train' and model.get('type') in _DISTILLED:
                inner['pipeline'] = without_unused_features(inner['pipeline'], features_used(model))
        if inner['type'] in _OPEN_VOCABULARY:
            inner.setdefault('categories', config.get('categories'))
            if runtime.dry_run():
                inner['max_images'] = _DRY_RUN_IMAGES
        if split == 'train' and runtime.train_with_val_dataset():
            _use_validation_files(inner, next(_inner_datasets(_dataset_config(config, 'val'))))
    return dataset


def _dataset_config(config: Mapping[str, Any], split: str) -> dict[str, Any]:
    key = f'.{dict(train="trainer", val="validator")[split]}.dataloader'
    loader = section(config, key)
    if 'dataset' not in loader:
        raise ValueError(f'the config has no {key}.dataset; it has {sorted(loader)}')
    return loader['dataset']


def _inner_datasets(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs of the datasets that read files, within wrappers and lists."""
    if isinstance(config, (list, tuple)):
        for item in config:
            yield from _inner_datasets(item)
    elif not isinstance(config, Mapping) or not {'type', 'dataset', 'datasets'} & set(config):
        raise ValueError(
            f'a dataset of the config is {config!r:.80}; expected a dict with its type'
        )
    elif 'dataset' in config or 'datasets' in config:
        yield from _inner_datasets(config.get('dataset', config.get('datasets')))
    else:
        assert isinstance(config, dict)
        yield config


def _use_validation_files(inner: dict[str, Any], validation: Mapping[str, Any]) -> None:
    for key in _LOCATIONS:
        inner.pop(key, None)
        if key in validation:
            inner[key] = validation[key]
    for step in inner['pipeline']:
        if step['type'] == 'LoadCLIPFeatures':
            step['split'] = 'val'
