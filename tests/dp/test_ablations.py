"""Each ablation and the released OV-LVIS model train for two steps and are tested, on a small dataset."""

import json
import pathlib
import shutil

import pytest
from training_dataset import ROOT, make_training_dataset, thin_config

from oadp.compat import load_tensors
from oadp.dp import test, train
from oadp.utils.config import dump_config

DISTILLATION = {
    'box': set(),
    'objects': {'loss_clip_objects'},
    'objects_blocks': {'loss_clip_objects', 'loss_clip_blocks', 'loss_block'},
    'objects_blocks_relations': {
        'loss_clip_objects', 'loss_clip_blocks', 'loss_clip_block_relations', 'loss_block',
    },
    'objects_blocks_relations_global': {
        'loss_clip_objects', 'loss_clip_blocks', 'loss_clip_block_relations', 'loss_block',
        'loss_clip_global', 'loss_global',
    },
    'blocks_global': {
        'loss_clip_blocks', 'loss_clip_block_relations', 'loss_block',
        'loss_clip_global', 'loss_global',
    },
}  # fmt: skip
FEATURES = dict(objects='loss_clip_objects', blocks='loss_block', globals='loss_global')
"""The types of features, and a loss that needs them."""


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('ablations')
    make_training_dataset(root)
    return root


def logged_losses(folder: pathlib.Path) -> set[str]:
    (file,) = folder.glob('*.log.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    steps = [row for row in rows if row.get('mode') == 'train']
    assert [row['iter'] for row in steps] == [1, 2]
    return {key for key in steps[0] if key.startswith('loss_')}


@pytest.mark.parametrize('name', DISTILLATION)
def test_ablation(folder: pathlib.Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    config = thin_config(folder, ROOT / f'configs/dp/ablations/{name}.py')
    config.trainer.runner.max_iters = 2
    config.trainer.evaluation = None
    expected = DISTILLATION[name]
    # Features that the losses do not need are not read.
    for kind, loss in FEATURES.items():
        if loss not in expected:
            load = config.trainer.dataloader.dataset.pipeline[2]
            load['globals_' if kind == 'globals' else kind].data_root = 'nowhere'
    dump_config(config, folder / f'{name}.py')
    train.main([f'ablations/{name}', f'{name}.py'])
    run = folder / 'work_dirs/ablations' / name
    base = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}
    assert logged_losses(run) == base | expected
    keys = load_tensors(run / 'iter_2.pth')['state_dict']
    heads = {
        'roi_head._object_head': 'loss_clip_objects',
        'roi_head._block_head': 'loss_block',
        '_global_head': 'loss_global',
    }
    for head, loss in heads.items():
        assert any(k.startswith(head) for k in keys) == (loss in expected), head
    test.main([f'{name}.py', str(run / 'iter_2.pth'), '--out-json', f'{name}.json'])
    assert 0 <= json.loads((folder / f'{name}.json').read_text())['COCO_2_bbox_mAP_50'] <= 1


def test_released_lvis(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """It trains without image features; its checkpoint can be tested with the other config, too."""
    make_training_dataset(tmp_path, lvis=True)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree('oake/globals')
    config = thin_config(tmp_path, ROOT / 'configs/dp/oadp_ov_lvis_released.py')
    config.trainer.evaluation = None
    config.trainer.dataloader.dataset.dataset.max_images = 4
    dump_config(config, tmp_path / 'released.py')
    train.main(['released', 'released.py'])
    checkpoint = 'work_dirs/released/epoch_1.pth'
    assert not any('_global_head' in k for k in load_tensors(checkpoint)['state_dict'])
    metrics = []
    for name in ('released.py', 'ov_lvis.py'):
        test.main([name, checkpoint, '--metrics', 'bbox', 'segm', '--out-json', 'metrics.json'])
        metrics.append(json.loads(pathlib.Path('metrics.json').read_text()))
    assert metrics[0] == metrics[1] and 'segm_APr' in metrics[0]
