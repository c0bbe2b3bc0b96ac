"""Every shipped config of extraction loads, and has the paths of the README."""

import pytest
from oake_dataset import ROOT

from oadp.clip.precision import PRECISIONS
from oadp.oake import run as command
from oadp.oake.objects import Objects
from oadp.oake.task import Task
from oadp.utils.config import load_config

FILES = sorted(f for f in (ROOT / 'configs/oake').glob('*.py') if not f.name.startswith('_'))


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_config(file):
    config = load_config(file, {'.train.dataloader.dataset.auto_fix': True})
    kind = file.stem.split('_')[0]
    for split in command.SPLITS:
        dataset = config[split].dataloader.dataset
        own = Objects.dataset_keys if kind == 'objects' else Task.dataset_keys
        assert set(dataset) <= {*command._DATASET_KEYS, *own}
        home = 'data/lvis_v1' if 'lvis' in file.stem else 'data/coco'
        assert dataset.output_dir == f'{home}/oake/{kind}/{split}2017'
        assert dataset.annFile.startswith(f'{home}/annotations/') and split in dataset.annFile
        if kind == 'objects':
            assert dataset.proposal_sorted and split in dataset.proposal_file
            assert dataset.root == (
                'data/coco' if 'lvis' in file.stem else f'data/coco/{split}2017'
            )
    assert config.precision in PRECISIONS and config.mini_batch_size is None
    assert config.log.interval == dict(globals=50, blocks=10, objects=5)[kind]


def test_four_configs_are_shipped():
    assert [f.stem for f in FILES] == ['blocks', 'globals', 'objects_coco', 'objects_lvis']
