"""Invalid settings of a training run are errors that name the keys."""

import pathlib

import pytest
from training_dataset import make_training_dataset

from oadp.dp import train


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('settings')
    make_training_dataset(root)
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        ('.trainer.seed:None', 'expected an integer'),
        ('.trainer.runner.type::MyRunner', 'choose from'),
        ('.trainer.workflow:[("train",1),("val",1)]', "expected 'train' only"),
        ('.trainer.dataloader.dataset.ann_file::no.json', 'oadp.build_annotations'),
        ('.trainer.dataloader.samples_per_gpu:0', 'samples_per_gpu is 0; expected .* at least 1'),
        ('.trainer.dataloader.samples_per_gpu:2.5', 'samples_per_gpu is 2.5; expected an integer'),
        ('.trainer.dataloader.workers_per_gpu:-1', 'workers_per_gpu is -1; .* at least 0'),
        ('.trainer.runner.max_iters:0', 'max_iters is 0'),
        ('.trainer.checkpoint_config.interval:0', 'checkpoint_config.interval is 0'),
        ('.trainer.evaluation.interval:-2', 'evaluation.interval is -2'),
        ('.trainer.log_config.interval:0', 'log_config.interval is 0'),
    ],
)
def test_invalid_settings(here, override: str, message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train.main(['x', 'ov_coco.py', '--override', override])


def test_all_invalid_counts_are_listed(here):
    overrides = ['.trainer.dataloader.samples_per_gpu:0', '.trainer.runner.max_iters:True']
    with pytest.raises(ValueError, match='samples_per_gpu is 0.*; runner.max_iters is True'):
        train.main(['x', 'ov_coco.py', '--override', *overrides])
