"""mmdet's tools and ``mmdet.apis``, as installed, with the config that ``oadp.dp.mmdet_config`` writes.

Each runs for real, on the CPU and, where mmcv-full has none, without compiled ops.
"""

import collections
import json
import os
import pathlib
import pickle

import matplotlib
import mmcv
import numpy as np
import pytest
import torch
from training_dataset import make_training_dataset

from oadp.dp import build_detector, mmdet_config, mmdet_tool, test, train
from oadp.utils.config import load_config

pytestmark = pytest.mark.slow  # some 40 s together: each tool builds its own detector and datasets

SEED = 3407
# One image, one size, no flip: what mmdet's sampler and ours have in common.
SAME_DATA = [
    '.trainer.dataloader.samples_per_gpu:1',
    '.trainer.dataloader.dataset.max_images:1',
    '.trainer.dataloader.dataset.pipeline[3].img_scale:[(96, 64), (96, 64)]',
    '.trainer.dataloader.dataset.pipeline[4].flip_ratio:0.0',
    '.trainer.load_from::start.pth',
    '.trainer.runner.max_iters:2',
    '.trainer.evaluation.interval:2',
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('mmdet')
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.manual_seed(1)
        torch.save(build_detector(load_config('ov_coco.py')).state_dict(), 'start.pth')
        mmdet_config.main(['ov_coco.py', 'mmdet_coco.py', '--override', *SAME_DATA])
        mmdet_config.main(['ov_lvis.py', 'mmdet_lvis.py'])
        mmdet_tool.main(['train', 'mmdet_coco.py', '--work-dir', 'theirs', '--seed', str(SEED)])
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def log_rows(folder: pathlib.Path, mode: str) -> list[dict]:
    [file] = folder.glob('*.log.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if row.get('mode') == mode]


def test_train_has_our_losses(here: pathlib.Path):
    train.main(['ours', 'ov_coco.py', '--override', *SAME_DATA])
    theirs = log_rows(here / 'theirs', 'train')
    ours = log_rows(here / 'work_dirs/ours', 'train')
    assert [row['iter'] for row in theirs] == [1, 2]
    for one, other in zip(theirs, ours, strict=True):
        keys = [key for key in one if 'loss' in key or key in ('lr', 'recall_global')]
        assert len(keys) >= 9
        assert {k: one[k] for k in keys} == pytest.approx({k: other[k] for k in keys}, rel=1e-4)
    (one,), (other,) = (log_rows(f, 'val') for f in (here / 'theirs', here / 'work_dirs/ours'))
    assert one['COCO_2_bbox_mAP_50'] == pytest.approx(other['COCO_2_bbox_mAP_50'], abs=1e-3)


def test_test_has_the_figures_of_ours(here: pathlib.Path, capsys):
    mmdet_tool.main(
        ['test', 'mmdet_coco.py', 'theirs/iter_2.pth', '--eval', 'bbox', '--out', 'theirs.pkl']
        + ['--work-dir', 'tested']
    )
    test.main(['ov_coco.py', 'theirs/iter_2.pth', '--out-json', 'ours.json', '--out', 'ours.pkl'])
    [file] = (here / 'tested').glob('eval_*.json')
    assert json.loads(file.read_text())['metric'] == json.loads((here / 'ours.json').read_text())
    one, other = (pickle.loads((here / name).read_bytes()) for name in ('theirs.pkl', 'ours.pkl'))
    for a, b in zip(one, other, strict=True):
        for boxes, expected in zip(a, b, strict=True):
            np.testing.assert_allclose(boxes, expected, rtol=1e-5)


def test_train_and_test_by_epochs_with_masks_and_balanced_classes(here: pathlib.Path, capsys):
    mmdet_tool.main(
        ['train', 'mmdet_lvis.py', '--work-dir', 'masks', '--seed', '0', '--no-validate']
    )
    mmdet_tool.main(['test', 'mmdet_lvis.py', 'masks/epoch_1.pth', '--eval', 'bbox', 'segm'])
    assert "'segm_APr'" in capsys.readouterr().out


def test_get_flops(here: pathlib.Path, capsys):
    mmdet_tool.main(['get_flops', 'mmdet_coco.py', '--shape', '64', '96'])
    assert 'Flops:' in (printed := capsys.readouterr().out) and 'Params:' in printed


def test_benchmark(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Its first five images are not timed, so it runs on the six of training."""
    environment = dict(RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, MASTER_PORT=29671)
    for key, value in environment.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv('MASTER_ADDR', 'localhost')
    try:
        mmdet_tool.main(
            ['benchmark', 'mmdet_coco.py', 'theirs/iter_2.pth', '--launcher', 'pytorch']
            + ['--max-iter', '6', '--cfg-options', 'data.test.ann_file=train.json']
            + ['data.test.img_prefix=images/train']
        )
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert 'Overall fps' in capsys.readouterr().out
    assert torch.nn.Module.cuda.__module__ == 'torch.nn.modules.module'


def test_browse_dataset(here: pathlib.Path):
    mmdet_tool.main(
        ['browse_dataset', 'mmdet_coco.py', '--not-show', '--output-dir', 'browsed']
        + ['--skip-type', 'OVFormatBundle', 'Normalize', 'Collect']
    )
    assert len(list((here / 'browsed').iterdir())) == 1
    assert not hasattr(collections, 'Sequence')


def test_analyze_logs(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """Of a training by mmdet's tool, and of one by ours."""
    train.main(
        ['logged', 'ov_coco.py', '--override', '.trainer.evaluation:None']
        + ['.trainer.runner.max_iters:2']
    )
    monkeypatch.setattr(matplotlib, 'use', lambda *args, **kwargs: None)
    matplotlib.pyplot.switch_backend('Agg')
    for folder in ('theirs', 'work_dirs/logged'):
        [log] = (here / folder).glob('*.log.json')
        out = here / folder / 'curve.png'
        mmdet_tool.main(['analyze_logs', 'cal_train_time', str(log)])
        mmdet_tool.main(
            ['analyze_logs', 'plot_curve', str(log), '--keys', 'loss', '--out', str(out)]
        )
        assert out.stat().st_size


def test_apis(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    from mmdet.apis import inference_detector, init_detector, show_result_pyplot

    matplotlib.pyplot.switch_backend('Agg')
    detector = init_detector('mmdet_coco.py', 'theirs/iter_2.pth', device='cpu')
    file = 'images/val/000000000021.png'
    result = inference_detector(detector, file)
    test.main(['ov_coco.py', 'theirs/iter_2.pth', '--out', 'api.pkl', '--out-json', 'api.json'])
    expected = pickle.loads((here / 'api.pkl').read_bytes())[0]
    by_array = inference_detector(detector, mmcv.imread(file))
    for boxes, of_array, of_test in zip(result, by_array, expected, strict=True):
        np.testing.assert_allclose(boxes, of_test, rtol=1e-5)
        np.testing.assert_allclose(of_array, of_test, rtol=1e-5)
    show_result_pyplot(detector, file, result, score_thr=0.0, out_file='shown.png')
    assert mmcv.imread('shown.png').shape == mmcv.imread(file).shape


def test_train_detector(here: pathlib.Path):
    from mmdet.apis import train_detector
    from mmdet.datasets import build_dataset
    from mmdet.models import build_detector as build_mmdet_detector

    config = mmcv.Config.fromfile('mmdet_coco.py')
    config.merge_from_dict(dict(work_dir='api', gpu_ids=[0], seed=SEED, device='cpu'))
    os.makedirs('api')
    train_detector(
        build_mmdet_detector(config.model),
        [build_dataset(config.data.train)],
        config,
        meta=dict(seed=SEED),
    )
    one, other = (log_rows(here / name, 'train') for name in ('api', 'theirs'))
    assert [row['loss'] for row in one] == pytest.approx([row['loss'] for row in other])


def test_unknown_tool():
    with pytest.raises(ValueError, match=r"'trian' is not a tool .*'train'"):
        mmdet_tool.main(['trian'])
