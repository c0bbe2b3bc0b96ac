import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from training_dataset import BASES, CATEGORY_IDS, NOVELS, ROOT, make_training_dataset, write_json

from oadp.compat import load_tensors
from oadp.dp import train
from oadp.utils.config import load_config, to_plain


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('train')
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def losses(folder: pathlib.Path) -> dict[int, float]:
    """Return the total loss by step, from the JSON log."""
    rows = [
        json.loads(line)
        for file in sorted(folder.glob('*.log.json'))
        for line in file.read_text().splitlines()
    ]
    return {row['iter']: row['loss'] for row in rows if row.get('mode') == 'train'}


@pytest.fixture(scope='module')
def whole_run(folder: pathlib.Path) -> pathlib.Path:
    """The folder of a run of four steps with checkpoints after two and four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(['whole', 'ov_coco.py'])
    return folder / 'work_dirs/whole'


def test_outputs(whole_run: pathlib.Path):
    names = {p.name for p in whole_run.iterdir()}
    assert {'config.py', 'train.log', 'iter_2.pth', 'iter_4.pth', 'latest.pth', 'tf_logs'} <= names
    assert not [name for name in names if name.startswith('.')]
    assert (whole_run / 'latest.pth').readlink() == pathlib.Path('iter_4.pth')
    log = (whole_run / 'train.log').read_text()
    assert 'eta:' in log and 'COCO_2_bbox_mAP_50' in log
    assert list((whole_run / 'tf_logs').iterdir())
    assert sorted(losses(whole_run)) == [1, 2, 3, 4]


def test_checkpoint_has_the_keys_of_the_state_dict(whole_run: pathlib.Path, folder):
    from oadp.dp import build_detector

    checkpoint = load_tensors(whole_run / 'iter_4.pth')
    detector = build_detector(load_config(folder / 'ov_coco.py'))
    assert set(checkpoint['state_dict']) == set(detector.state_dict())
    assert checkpoint['meta']['CLASSES'][: len(BASES)] == BASES


def test_resolved_config_is_the_config(whole_run: pathlib.Path, folder):
    resolved, given = load_config(whole_run / 'config.py'), load_config(folder / 'ov_coco.py')
    assert to_plain(resolved) == to_plain(given)


def test_resumed_run_has_the_losses_of_an_uninterrupted_run(whole_run: pathlib.Path, here):
    checkpoint = whole_run / 'iter_2.pth'
    config = whole_run / 'config.py'
    train.main(['rest', str(config), '--override', f'.trainer.resume_from::{checkpoint}'])
    rest, whole = losses(here / 'work_dirs/rest'), losses(whole_run)
    assert sorted(rest) == [3, 4]
    assert rest == pytest.approx({k: whole[k] for k in (3, 4)}, rel=1e-5)
    final = [
        load_tensors(f / 'iter_4.pth')['state_dict'] for f in (whole_run, here / 'work_dirs/rest')
    ]
    for key, value in final[0].items():
        torch.testing.assert_close(final[1][key], value, msg=key)


def test_losses_depend_on_the_seed(whole_run: pathlib.Path, here):
    train.main(
        ['other', 'ov_coco.py', '--override', '.trainer.runner.max_iters:1']
        + ['.trainer.evaluation:None', '.trainer.seed:1']
    )
    assert losses(here / 'work_dirs/other')[1] != pytest.approx(losses(whole_run)[1], rel=1e-3)


def test_weights_alone_cannot_be_resumed(whole_run: pathlib.Path, here):
    state = load_tensors(whole_run / 'iter_2.pth')['state_dict']
    torch.save(dict(state_dict=state), 'released.pth')
    with pytest.raises(ValueError, match='load_from'):
        train.main(['x', 'ov_coco.py', '--override', '.trainer.resume_from::released.pth'])


def test_load_from(whole_run: pathlib.Path, here):
    state = load_tensors(whole_run / 'iter_2.pth')['state_dict']
    renamed = {'module.extra': torch.zeros(1), **state}
    renamed['rpn_head.rpn_cls.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=renamed), 'start.pth')
    train.main(
        ['start', 'ov_coco.py', '--override', '.trainer.load_from::start.pth']
        + ['.trainer.runner.max_iters:1', '.trainer.evaluation:None']
    )
    printed = (here / 'work_dirs/start/train.log').read_text()
    assert '1 keys unexpected: extra' in printed
    assert '1 keys with another shape: rpn_head.rpn_cls.weight' in printed


def test_missing_initial_checkpoint(here):
    with pytest.raises(FileNotFoundError, match='Pretrained models'):
        train.main(['x', 'ov_coco.py', '--override', '.trainer.load_from::pretrained/soco.pth'])


BACKBONE = (
    ".model.backbone.init_cfg:dict(type='Pretrained', checkpoint='pretrained/torchvision/gone.pth')"
)


def test_missing_weights_of_the_backbone(here):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth.*ResNet.*oadp\.pretrained resnet50'):
        train.main(['x', 'ov_coco.py', '--override', BACKBONE])


def test_dry_run_without_the_weights_of_the_backbone(here, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    train.main(['bare', 'ov_coco.py', '--override', BACKBONE, '.trainer.evaluation:None'])
    log = (here / 'work_dirs/dry_run/bare/train.log').read_text()
    assert 'gone.pth: no such file; this dry run starts from random weights' in log
    assert (here / 'work_dirs/dry_run/bare/latest.pth').exists()


def test_non_finite_loss_stops_the_training(here, monkeypatch):
    """The loss of the third step is NaN; the newest checkpoint is that of the second step."""
    from oadp.dp.models.detectors import OADP

    steps = []
    original = OADP.forward_train

    def forward_train(self, img, img_metas, **kwargs):
        losses = original(self, img, img_metas, **kwargs)
        steps.append([meta['ori_filename'] for meta in img_metas])
        if len(steps) == 3:
            losses['loss_bbox'] = losses['loss_bbox'] * float('nan')
        return losses

    monkeypatch.setattr(OADP, 'forward_train', forward_train)
    with pytest.raises(ValueError, match='step 3: loss_bbox is nan; images') as e:
        train.main(
            ['diverging', 'ov_coco.py', '--override', '.trainer.checkpoint_config.interval:1']
        )
    assert all(name in str(e.value) for name in steps[2])
    folder = here / 'work_dirs/diverging'
    assert (folder / 'latest.pth').readlink() == pathlib.Path('iter_2.pth')


def test_non_finite_weights_are_not_loaded(whole_run: pathlib.Path, here):
    data = load_tensors(whole_run / 'iter_4.pth')
    name = 'rpn_head.rpn_cls.weight'
    data['state_dict'][name][0] = float('inf')
    torch.save(data, here / 'inf.pth')
    for key in ('load_from', 'resume_from'):
        with pytest.raises(ValueError, match=rf'inf\.pth: NaN or infinity in {name}'):
            train.main(['inf', 'ov_coco.py', '--override', f'.trainer.{key}::inf.pth'])


def test_validation_images_for_lvis(here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('TRAIN_WITH_VAL_DATASET', 'True')
    train.main(['lvis', 'ov_lvis.py', '--override', '.trainer.log_config.interval:1'])
    printed = (here / 'work_dirs/lvis/train.log').read_text()
    ids = [a['category_id'] for a in json.loads((here / 'val.json').read_text())['annotations']]
    novel = sum(i in (CATEGORY_IDS[name] for name in NOVELS) for i in ids)
    assert f'val.json: {novel} of {len(ids)} annotations are not of base categories' in printed
    assert 'bbox_APr' in printed and 'segm_APr' in printed
    assert all(torch.isfinite(torch.tensor(v)) for v in losses(here / 'work_dirs/lvis').values())
    assert (here / 'work_dirs/lvis/epoch_1.pth').is_file()


@pytest.mark.parametrize('config', ['ov_coco.py', 'ov_lvis.py'])
def test_dry_run(here, config: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    name = f'dry_{config[:-3]}'
    train.main([name, config, '--override', '.trainer.load_from::pretrained/soco.pth'])
    assert not (here / 'work_dirs' / name).exists()
    run = here / 'work_dirs/dry_run' / name
    assert sorted(losses(run)) == [1, 2]
    assert (run / 'latest.pth').is_file()
    assert 'starts from random weights' in (run / 'train.log').read_text()


def torchrun(processes: int, port: int, *args: str) -> None:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', f'--nproc_per_node={processes}']
        + [f'--master_port={port}', '-m', *args],
        check=True,
        env=environment,
        timeout=280,
    )


@pytest.mark.slow
def test_two_processes_make_the_same_step_as_one(here):
    """The weights after a step, and the metrics, are those of one process with both images.

    Both images of the step are the same one, so that all means are over equally many things and
    BatchNorm sees the same statistics. Which images the processes have is tested with the sampler.
    """
    data = json.loads((here / 'train.json').read_text())
    (image,) = data['images'][:1]
    own = [a for a in data['annotations'] if a['image_id'] == image['id']]
    write_json(here / 'single.json', {**data, 'images': [image], 'annotations': own})
    override = [
        '--override', '.trainer.dataloader.dataset.ann_file::single.json',
        '.trainer.dataloader.dataset.pipeline[3].img_scale:[(96,64)]',
        '.trainer.dataloader.dataset.pipeline[4].flip_ratio:0.0',
        '.trainer.runner.max_iters:1', '.trainer.evaluation.interval:1',
        '.trainer.lr_config.warmup:None', '.trainer.optimizer.lr:1.0',
        '.model.train_cfg.rpn.sampler.num:1000000', '.model.train_cfg.rcnn.sampler.num:1000000',
    ]  # fmt: skip
    train.main(['one', 'ov_coco.py', *override])
    torchrun(
        2, 29641, 'oadp.dp.train', 'two', 'ov_coco.py', *override,
        '.trainer.dataloader.samples_per_gpu:1',
    )  # fmt: skip
    one, two = (
        load_tensors(here / 'work_dirs' / name / 'iter_1.pth')['state_dict']
        for name in ('one', 'two')
    )
    for key, value in one.items():
        if not key.endswith(('running_mean', 'running_var')):
            torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=key)
    logs = [(here / 'work_dirs' / name / 'train.log').read_text() for name in ('one', 'two')]
    assert metrics_line(logs[0]) == metrics_line(logs[1])


def metrics_line(log: str) -> str:
    (line,) = [line for line in log.splitlines() if 'Iter(val)' in line]
    return line[line.index('COCO_') :]
