"""The authors' spelling of config values, and what becomes of it."""

import copy
import logging

import pytest

from oadp.compat import translate_config, translate_location
from oadp.utils.config import load_config, to_plain

DEFAULT = dict(type='PthAccessLayer', task_name='train2017')


def detector_config(default: dict, wrapped: bool = False) -> dict:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadCLIPFeatures', default=default, blocks=dict(data_root='blocks')),
    ]
    dataset = dict(type='OV_COCO', pipeline=pipeline)
    if wrapped:
        dataset = dict(type='ClassBalancedDataset', dataset=dataset)
    return dict(trainer=dict(dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize('wrapped', [False, True])
def test_access_layer(wrapped: bool):
    config = detector_config(dict(DEFAULT, readonly=True), wrapped)
    (line,) = translate_config(config)
    dataset = config['trainer']['dataloader']['dataset']
    dataset = dataset['dataset'] if wrapped else dataset
    expected = dict(task_name='train2017', val_task_name='val2017')
    assert dataset['pipeline'][1]['default'] == expected
    inner = '.dataset' if wrapped else ''
    assert line.startswith(f'.trainer.dataloader.dataset{inner}.pipeline[1].default: ')
    assert "type='PthAccessLayer', readonly=True is ignored" in line
    assert "val_task_name='val2017'" in line
    assert translate_config(config) == []


def test_another_access_layer():
    with pytest.raises(ValueError, match="default.type is 'LmdbAccessLayer': expected no type"):
        translate_config(detector_config(dict(type='LmdbAccessLayer')))


def test_given_validation_split_stays():
    location = dict(DEFAULT, val_task_name='mine')
    before = copy.deepcopy(location)
    new, _ = translate_location(location, 'blocks')
    assert new['val_task_name'] == 'mine' and location == before


@pytest.mark.parametrize(
    ('given', 'expected'), [('COCODataset', 'COCO'), ('LVISDataset', 'LVIS'), ('COCO', None)]
)
def test_dataset_types(given: str, expected: str | None):
    dataset = dict(type=given, annFile='a.json')
    lines = translate_config(dict(train=dict(dataloader=dict(dataset=dataset)), val=None))
    assert dataset['type'] == (expected or given)
    assert len(lines) == (expected is not None)
    for line in lines:
        assert line == f'.train.dataloader.dataset.type={given!r} is read as {expected!r}'


def test_on_loading(tmp_path, monkeypatch):
    """Overrides are translated too, and may name optional keys that the file leaves out."""
    lines: list[str] = []
    logger = logging.Logger('loading')
    monkeypatch.setattr(logger, 'warning', lambda text, *args: lines.append(text % args))
    monkeypatch.setattr('oadp.utils.config.runtime.get_logger', lambda: logger)
    file = tmp_path / 'objects.py'
    file.write_text(
        "train = dict(dataloader=dict(dataset=dict(type='LVISDataset', annFile='a')))\n"
    )
    override = {'.train.dataloader.dataset.type': 'COCODataset', '.precision': 'fp32'}
    config = load_config(file, {**override, '.train.dataloader.dataset.auto_fix': True})
    assert to_plain(config) == dict(
        train=dict(dataloader=dict(dataset=dict(type='COCO', annFile='a', auto_fix=True))),
        precision='fp32',
    )
    first, second = lines
    assert first.startswith(f'{file}: .train.dataloader.dataset.type')
    assert "'LVISDataset' is read as 'LVIS'" in first
    assert "'COCODataset' is read as 'COCO'" in second


def test_of_mmdet_s_own_config():
    """Which ``load_config`` has not read."""
    from oadp.dp.data.clip_features import LoadCLIPFeatures

    step = LoadCLIPFeatures(default=DEFAULT, blocks=dict(data_root='a'))
    assert repr(step) == 'LoadCLIPFeatures(blocks)'
