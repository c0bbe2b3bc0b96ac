import json
import pathlib

import pytest
import torch
from training_dataset import NAMES, make_training_dataset

from oadp import probe
from oadp.dp import build_detector
from oadp.utils.config import load_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('probe')
    make_training_dataset(root)
    torch.manual_seed(0)
    torch.save(
        dict(state_dict=build_detector(load_config(root / 'ov_coco.py')).state_dict()),
        root / 'w.pth',
    )
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def test_features_and_heads(here: pathlib.Path, capsys):
    probe.main(['ov_coco.py', 'w.pth', '--split', 'train'])
    printed = capsys.readouterr().out
    assert 'CLIP, objects' in printed and 'accuracies: work_dirs/probe/ov_coco.json' in printed
    rows = json.loads((here / 'work_dirs/probe/ov_coco.json').read_text())
    assert set(rows) == {
        'CLIP, objects', 'CLIP, blocks', 'CLIP, image', 'detector, box head', 'detector, object head',
        'detector, block head', 'detector, fused', 'detector, image head',
    }  # fmt: skip
    number = len(json.loads((here / 'train.json').read_text())['annotations'])
    for name, row in rows.items():
        assert -1 <= row['base'] <= 1 and set(row['classes']) == set(NAMES)
        assert not name.startswith('detector') or row['base'] >= 0
        judged = sum(c['judged'] for c in row['classes'].values())
        if name.startswith('detector') and 'image' not in name:
            assert judged == number
    assert 0 <= rows['CLIP, objects']['covered'] <= 1


def test_some_images_and_other_prompts(here: pathlib.Path):
    prompts = dict(names=list(NAMES), embeddings=-torch.load('prompts.pth')['embeddings'])
    torch.save(prompts, 'opposite.pth')
    accuracies = []
    for options in ([], ['--prompts', 'opposite.pth']):
        probe.main(
            ['ov_coco.py', '--split', 'train', '--images', '3', '--out', 'out/p.json', *options]
        )
        rows = json.loads((here / 'out/p.json').read_text())
        assert len(rows) == 3
        images = {c['judged'] for c in rows['CLIP, image']['classes'].values()}
        assert max(images) <= 3
        accuracies.append(rows['CLIP, image'])
    assert accuracies[0] != accuracies[1]


def test_kinds_without_features_are_named(here: pathlib.Path, caplog: pytest.LogCaptureFixture):
    override = '.trainer.dataloader.dataset.pipeline[2].objects.data_root::nowhere'
    config = load_config('ov_coco.py')
    assert config.trainer.dataloader.dataset.pipeline[2].type == 'LoadCLIPFeatures'
    probe.main(['ov_coco.py', '--split', 'train', '--override', override])
    assert 'no image of the train split has features of objects' in caplog.text
    nowhere = [
        override.replace('objects.', f'{kind}.') for kind in ('objects', 'blocks', 'globals_')
    ]
    with pytest.raises(FileNotFoundError, match='there is nothing to probe'):
        probe.main(['ov_coco.py', '--split', 'train', '--override', *nowhere])


def test_arguments(here: pathlib.Path):
    with pytest.raises(SystemExit):
        probe.main(['ov_coco.py', '--images', '0'])
