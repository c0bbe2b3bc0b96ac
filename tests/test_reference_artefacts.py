"""What the authors' code writes and reads, used as it is: checkpoints, features and config files."""

import json
import logging
import pathlib

import numpy as np
import pytest
import torch
from authors_configs import make_authors_configs, write_oake_configs
from oake_dataset import make_oake_dataset
from training_dataset import DIM

from oadp.compat import load_tensors
from oadp.data.features import stores as features
from oadp.dp import build_detector, test, train
from oadp.oake import run as command
from oadp.oake.globals import Globals
from oadp.oake.objects import Objects
from oadp.utils import runtime
from oadp.utils.config import load_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('reference')
    make_authors_configs(root)
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def losses(run: pathlib.Path) -> list[dict]:
    (file,) = run.glob('*.log.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if row.get('mode') == 'train']


@pytest.fixture(scope='module')
def trained(folder: pathlib.Path) -> pathlib.Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(['theirs', 'theirs.py'])
    return folder / 'work_dirs/theirs'


def test_their_config_trains(trained: pathlib.Path, here: pathlib.Path):
    """The same losses as by a config of this project, but for the other spelling of the weights."""
    override = ['.trainer.evaluation:None', '.trainer.auto_scale_lr.enable:False']
    train.main(['ours', 'ov_coco.py', '--override', *override])
    theirs, ours = losses(trained), losses(here / 'work_dirs/ours')
    assert [row['iter'] for row in theirs] == [1, 2]
    for name in ('loss_cls', 'loss_rpn_cls', 'loss_block', 'loss_clip_objects', 'loss_clip_blocks'):
        assert theirs[0][name] == pytest.approx(ours[0][name], rel=1e-4), name
    # A sum over two images against a mean, in the weight that is right for 512 dimensions.
    ratio = ours[0]['loss_clip_global'] / theirs[0]['loss_clip_global']
    assert ratio == pytest.approx(512 / DIM, rel=1e-2)
    assert 'COCO_2_bbox_mAP_50' in (trained / 'train.log').read_text()
    assert (trained / 'iter_2.pth').is_file()


@pytest.fixture
def warnings_of_loading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ``load_config`` warns of."""
    lines: list[str] = []
    logger = logging.Logger('loading')
    monkeypatch.setattr(logger, 'warning', lambda text, *args: lines.append(text % args))
    monkeypatch.setattr('oadp.utils.config.runtime.get_logger', lambda **_: logger)
    return lines


def test_their_config_is_translated_with_a_warning(here: pathlib.Path, warnings_of_loading):
    load_config('theirs.py')
    (line,) = warnings_of_loading
    assert "pipeline[2].default: type='PthAccessLayer' is ignored" in line


def test_validation_images_of_their_config(here: pathlib.Path, monkeypatch):
    monkeypatch.setenv('TRAIN_WITH_VAL_DATASET', 'True')
    train.main(['val', 'theirs.py', '--override', '.trainer.evaluation:None'])
    assert len(losses(here / 'work_dirs/val')) == 2


def save_as_they_do(config: str, path: pathlib.Path, trained: pathlib.Path) -> dict:
    """Write a checkpoint by mmcv, as after a step of their training; returns its parts."""
    from mmcv import ConfigDict
    from mmcv.runner import save_checkpoint

    run = load_tensors(trained / 'iter_2.pth')
    detector = build_detector(load_config(config))
    detector.load_state_dict(
        {k: v for k, v in run['state_dict'].items() if k in detector.state_dict()}
    )
    detector.roi_head.register_buffer('_lambda', torch.full((6,), 2 / 3))
    detector.CLASSES = ('cat', 'dog', 'cow', 'fox', 'owl')
    meta = ConfigDict(
        epoch=1,
        iter=1,
        seed=3407,
        exp_name='theirs.py',
        env_info='sys.platform: linux',
        config=pathlib.Path(config).read_text(),
        PALETTE=[(220, 20, 60)],
        hook_msgs=dict(best_score=np.float64(0.3), last_ckpt='iter_1.pth', counts=np.arange(3)),
        cfg=dict(model=dict(keys=['a'])),
    )
    save_checkpoint(detector, str(path), meta=meta)
    data = torch.load(path, weights_only=False)
    assert type(data['meta']).__name__ == 'ConfigDict' and 'time' in data['meta']
    # mmcv's own function saves buffers that are not persistent, as their training did.
    assert sum(k.endswith('_embeddings') for k in data['state_dict']) >= 3
    data['optimizer'] = run['optimizer']
    torch.save(data, path)
    return data


def test_their_checkpoint_is_tested(trained, here):
    """Which keys are news is tested in ``tests/dp/test_checkpoints.py``."""
    save_as_they_do('theirs.py', here / 'a.pth', trained)
    test.main(['theirs.py', 'a.pth', '--out-json', 'a.json'])
    test.main(['theirs.py', str(trained / 'iter_2.pth'), '--out-json', 'b.json'])
    assert json.loads((here / 'a.json').read_text()) == json.loads((here / 'b.json').read_text())


def test_their_checkpoint_without_a_global_head_is_tested(trained, here):
    """With either config: as it was trained, and as the config with the head."""
    save_as_they_do('headless.py', here / 'headless.pth', trained)
    metrics = []
    for config in ('headless.py', 'theirs.py'):
        test.main([config, 'headless.pth', '--out-json', 'c.json'])
        metrics.append(json.loads((here / 'c.json').read_text()))
    assert metrics[0] == metrics[1]


def test_their_config_without_a_global_head_trains(here):
    train.main(['headless', 'headless.py', '--override', '.trainer.evaluation:None'])
    first, _ = losses(here / 'work_dirs/headless')
    assert 'loss_clip_blocks' in first and not any('global' in key for key in first)


def test_their_checkpoint_to_start_from(trained, here):
    save_as_they_do('theirs.py', here / 'start.pth', trained)
    train.main(['start', 'theirs.py', '--override', '.trainer.load_from::start.pth',
                '.trainer.evaluation:None'])  # fmt: skip
    log = (here / 'work_dirs/start/train.log').read_text()
    assert 'start.pth: loaded' in log and 'WARNING' not in log


def test_their_run_is_resumed(trained, here):
    """From the step after, with the momentum of the optimiser."""
    from oadp.dp.engine.run import prepare

    data = save_as_they_do('theirs.py', here / 'run.pth', trained)
    config = load_config(
        'theirs.py', {'.trainer.resume_from': 'run.pth', '.trainer.evaluation': None}
    )
    world = runtime.ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
    logger = runtime.get_logger(file=here / 'resume.log')
    runner = prepare(config, here / 'work_dirs/resumed', world, logger).runner
    assert (runner.epoch, runner.iter) == (1, 2)
    restored = runner.optimizer.state_dict()['state']
    buffers = [state['momentum_buffer'] for state in data['optimizer']['state'].values()]
    assert len(buffers) > 50
    for state, expected in zip(restored.values(), buffers, strict=True):
        assert torch.equal(state['momentum_buffer'], expected)
    for key, value in runner.model.module.state_dict().items():
        assert torch.equal(value, data['state_dict'][key]), key
    log = (here / 'resume.log').read_text()
    assert ': ignored ' in log and 'WARNING' not in log


@pytest.mark.parametrize(
    ('task', 'ours'),
    [(Globals, 'globals'), (Objects, 'objects_coco')],
    ids=['globals', 'objects'],
)
def test_their_config_extracts(tmp_path: pathlib.Path, monkeypatch, task, ours: str):
    make_oake_dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_oake_configs(tmp_path)
    world = runtime.ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
    override = {'.precision': 'fp32', '.train.dataloader.dataset.auto_fix': True}
    for name, config in (('theirs', f'{task.kind}.py'), ('ours', f'configs/oake/{ours}.py')):
        reports = command.run(task, name, load_config(config, override), world)
        assert [report.failed for report in reports] == [[], []]
    stores = [
        features.open_store(f'{root}/{task.kind}/val2017', task.kind)
        for root in ('out', 'data/coco/oake')
    ]
    assert len(stores[0].ids()) == 6 and stores[0].ids() == stores[1].ids()
    for image_id in stores[0].ids():
        a, b = (store.read(image_id) for store in stores)
        for x, y in zip(
            *((r.values() if isinstance(r, dict) else [r]) for r in (a, b)), strict=True
        ):
            torch.testing.assert_close(x, y, atol=1e-3, rtol=0)
