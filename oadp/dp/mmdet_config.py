"""Write a config for mmdetection 2.x: ``python -m oadp.dp.mmdet_config CONFIG OUT.py``.

mmdet's tools and ``mmdet.apis`` read it; ``python -m oadp.dp.mmdet_tool`` runs the tools.
"""

__all__ = ['to_mmdet_config']

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

from oadp.dp import register
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, dump_config, load_config, to_plain

_REGISTRATION = 'oadp.dp'
_DATA_KEYS = ('dataloader', 'seed')
"""Keys of ``trainer`` that have another place in mmdet's configs; the others are the same there."""

_DEFAULTS: dict[str, Any] = dict(
    momentum_config=None,
    load_from=None,
    resume_from=None,
    log_level='INFO',
    dist_params=dict(backend='nccl'),
)
"""Keys that mmdet's tools read and a config of OADP may lack."""

_OWN_HOOKS = ('SeedHook', 'FiniteLossHook')
"""Hooks that ``oadp.dp.train`` adds to every training."""


def to_mmdet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a config of OADP into one of mmdetection 2.x.

    The datasets get the ``categories`` and read images by ``ReadImage``; CLIP features that no head or
    loss uses are not loaded. ``DRY_RUN`` and ``TRAIN_WITH_VAL_DATASET`` have the effect on the datasets
    that they have in :func:`oadp.dp.build_dataset`. The seed is not part of an mmdet config: it is the
    option ``--seed`` of mmdet's ``tools/train.py``.

    Args:
        config: a whole loaded config. Not changed.

    Returns:
        Plain containers with ``model``, ``data``, ``optimizer``, ``lr_config``, ``runner`` and the
        other keys that mmdet's tools read.

    Raises:
        ValueError: the config lacks ``model``, ``trainer`` or ``validator``.
    """
    from oadp.dp.custom_imports import import_custom_modules

    missing = [key for key in ('model', 'trainer', 'validator') if key not in config]
    if missing:
        raise ValueError(
            f'expected a whole config of a detector, found none of the keys {missing}; configs of '
            'detectors are the files directly under configs/dp'
        )
    import_custom_modules(config)
    rest = to_plain(config)
    model, trainer, _ = (rest.pop(key) for key in ('model', 'trainer', 'validator'))
    categories, custom = rest.pop('categories', None), rest.pop('custom_imports', None)
    return {
        **_DEFAULTS,
        'custom_imports': _custom_imports(custom),
        'model': _with_categories(model, categories),
        **_data(config),
        **{key: value for key, value in trainer.items() if key not in _DATA_KEYS},
        'fp16': _fp16(trainer.get('fp16')),
        'evaluation': _evaluation(trainer),
        'custom_hooks': [
            *(dict(type=name, priority='VERY_HIGH') for name in _OWN_HOOKS),
            *(trainer.get('custom_hooks') or []),
        ],
        **rest,
    }


def _custom_imports(custom: Mapping[str, Any] | None) -> dict[str, Any]:
    names = (custom or {}).get('imports', [])
    names = [names] if isinstance(names, str) else names
    return {
        'allow_failed_imports': False,
        **(custom or {}),
        'imports': list(dict.fromkeys([_REGISTRATION, *names])),
    }


def _with_categories(model: dict[str, Any], categories: Any) -> dict[str, Any]:
    """Give a ViLD or OADP the category set; mmdet's detectors have no such argument."""
    from mmdet.models import DETECTORS

    from oadp.dp.models.detectors import ViLD

    kind = DETECTORS.get(str(model.get('type')))
    if kind is None or not issubclass(kind, ViLD) or categories is None:
        return model
    return {'categories': categories, **model}


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    from oadp.dp.data.build import resolve_dataset

    loaders = {
        split: {k: v for k, v in to_plain(config[key]['dataloader']).items() if k != 'dataset'}
        for split, key in (('train', 'trainer'), ('val', 'validator'))
    }
    train, val = (resolve_dataset(config, split) for split in ('train', 'val'))
    data = dict(
        train_dataloader=loaders['train'],
        val_dataloader=loaders['val'],
        test_dataloader=loaders['val'],
        train=train,
        val=val,
        test=val,
    )
    # By these names mmdet's tools look into the pipelines.
    pipelines = dict(train_pipeline=_pipeline(train), test_pipeline=_pipeline(val))
    return {'data': data, **{key: value for key, value in pipelines.items() if value is not None}}


def _pipeline(dataset: Any) -> Any:
    """Return the pipeline of a dataset, within wrappers and lists of them; None without any."""
    while isinstance(dataset, Mapping) and 'pipeline' not in dataset:
        dataset = dataset.get('dataset', dataset.get('datasets'))
        if isinstance(dataset, (list, tuple)):
            dataset = dataset[0]
    return None if dataset is None else dataset['pipeline']


def _fp16(fp16: Any) -> dict[str, Any] | None:
    """Return mmdet's ``fp16``, which is a dictionary of the loss scaler's settings, or None."""
    if isinstance(fp16, Mapping):  # an empty one switches fp16 on, too
        return dict(fp16)
    return {} if fp16 else None


def _evaluation(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return mmdet's ``evaluation``; for None, which its tools refuse, one after the last step."""
    if trainer.get('evaluation') is not None:
        return trainer['evaluation']
    runner = trainer['runner']
    length = runner.get('max_iters', runner.get('max_epochs'))
    runtime.get_logger().info(
        'trainer.evaluation is None: the written interval is longer than the training, so that '
        "mmdet's tools do not evaluate in it"
    )
    return dict(interval=length + 1, metric=['bbox'])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser = ArgumentParser(
        prog='python -m oadp.dp.mmdet_config',
        description='Write a config for mmdetection 2.x, which its tools and mmdet.apis read. Paths in '
        'it stay relative to the folder in which the tools are started.',
        epilog='Train: python -m oadp.dp.mmdet_tool train OUT.py --seed 0',
    )
    add_config_arguments(parser)
    parser.add_argument('out', type=pathlib.Path, help='the file to write, NAME.py')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command.

    Raises:
        ValueError: the output is no Python file, or the config itself.
    """
    args = parse_args(argv)
    if args.out.suffix != '.py' or args.out.resolve() == args.config.resolve():
        raise ValueError(
            f'{args.out}: expected a name that ends in .py, other than that of the config; give '
            'another one'
        )
    config = load_config(args.config, args.override)
    register()
    dump_config(to_mmdet_config(config), args.out)
    seed = config.trainer.get('seed')
    option = '' if seed is None else f' --seed {seed}'
    print(f'{args.out}: written; python -m oadp.dp.mmdet_tool train {args.out}{option}')


if __name__ == '__main__':
    run('oadp.dp.mmdet_config', main)
