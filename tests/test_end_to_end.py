"""The README's commands, typed one after the other in a small working directory.

Each runs as a user would run it, in a process of its own, on files that the one before it wrote. The
detector is thin, so that a few steps take seconds; what it learns means nothing, and that every file
arrives where the next command looks for it is what is tested.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from tiny_dataset import NUM_TRAIN, NUM_VAL, make_tiny_dataset

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parent.parent
OAKE = {
    'globals': ('globals', 'globals'),
    'blocks': ('blocks', 'blocks'),
    'objects_coco': ('objects', 'objects'),
    'objects_lvis': ('objects', 'objects'),
}
THIN = [
    '.model.backbone.depth:18',
    '.model.backbone.base_channels:8',
    '.model.neck.in_channels:[8,16,32,64]',
    '.model.neck.out_channels:16',
    '.model.rpn_head.in_channels:16',
    '.model.rpn_head.feat_channels:16',
    '.model.roi_head.bbox_roi_extractor.out_channels:16',
    '.model.roi_head.bbox_head.in_channels:16',
    '.model.roi_head.bbox_head.conv_out_channels:16',
    '.model.roi_head.bbox_head.fc_out_channels:32',
    '.model.train_cfg.rpn_proposal.max_per_img:50',
    '.model.test_cfg.rpn.max_per_img:50',
    '.validator.dataloader.dataset.pipeline[1].img_scale:(192,128)',
    '.validator.dataloader.workers_per_gpu:0',
    '.trainer.dataloader.workers_per_gpu:0',
    '.trainer.load_from:None',
    '.trainer.log_config.interval:1',
]
GLOBAL = ['.model.global_head.classifier.in_features:16']
MASK = [
    '.model.roi_head.mask_roi_extractor.out_channels:16',
    '.model.roi_head.mask_head.in_channels:16',
    '.model.roi_head.mask_head.conv_out_channels:16',
]


def thin(dataset: str) -> list[str]:
    """Overrides for the training set, which LVIS wraps in one that balances classes."""
    pipeline = {'coco': '.dataset', 'lvis': '.dataset.dataset'}[dataset] + '.pipeline'
    return [*THIN, f'.trainer.dataloader{pipeline}[3].img_scale:[(192,128)]']


ITERATIONS = ['.trainer.runner.max_iters:2', '.trainer.checkpoint_config.interval:2']
EPOCHS = ['.trainer.runner.max_epochs:1', '.trainer.evaluation.interval:1']


@pytest.fixture(scope='module')
def workplace(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('readme')
    make_tiny_dataset(root)
    (root / 'configs').symlink_to(ROOT / 'configs')
    (root / 'tools').symlink_to(ROOT / 'tools')
    return root


def run(workplace: pathlib.Path, *command: str, **environment: str) -> str:
    """Type a command; its output, or a failure that shows it."""
    process = subprocess.run(
        [sys.executable, *command],
        cwd=workplace,
        env=dict(os.environ, PYTHONPATH=str(ROOT), **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, f'{" ".join(command)}\n{process.stdout[-6000:]}'
    return process.stdout


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob('*') if p.is_file())


def test_annotations_and_prompts(workplace):
    run(workplace, '-m', 'oadp.build_annotations')
    assert len(list(workplace.glob('data/*/annotations/*.*.json'))) == 9
    run(workplace, '-m', 'oadp.prompts.vild')
    run(workplace, '-m', 'oadp.prompts.detpro')
    assert {p.name for p in workplace.glob('data/prompts/*')} == {
        'vild.pth',
        'ml_coco.pth',
        'detpro_lvis.pth',
    }


@pytest.mark.parametrize('config', OAKE)
def test_extraction(workplace, config):
    module, name = OAKE[config]
    command = ('-m', f'oadp.oake.{module}', f'oake/{name}', f'configs/oake/{config}.py')
    output = workplace / 'data' / ('lvis_v1' if config == 'objects_lvis' else 'coco') / 'oake'
    if config == 'objects_coco':
        run(workplace, *command, DRY_RUN='True')
        assert not (output / module).exists(), 'a dry run wrote where results go'
    run(workplace, *command)
    assert len(files(output / module / 'train2017')) == NUM_TRAIN
    assert len(files(output / module / 'val2017')) == NUM_VAL
    if config == 'globals':
        before = {p: p.stat().st_mtime_ns for p in files(output / module)}
        broken = next(iter(before))
        broken.write_bytes(broken.read_bytes()[:100])
        auto_fix = [f'.{split}.dataloader.dataset.auto_fix:True' for split in ('train', 'val')]
        run(workplace, *command, '--override', *auto_fix)
        after = {p: p.stat().st_mtime_ns for p in files(output / module)}
        assert {p for p in after if after[p] != before[p]} == {broken}
    for kind in ('globals', 'blocks'):
        link = workplace / 'data/lvis_v1/oake' / kind
        if config == 'objects_lvis' and not link.exists():
            link.symlink_to(f'../../coco/oake/{kind}')


@pytest.mark.parametrize(
    'name, overrides, checkpoint',
    [
        ('vild_ov_coco', thin('coco') + ITERATIONS, 'iter_2.pth'),
        ('oadp_ov_coco', thin('coco') + GLOBAL + ITERATIONS, 'iter_2.pth'),
        ('oadp_ov_lvis', thin('lvis') + GLOBAL + MASK + EPOCHS, 'epoch_1.pth'),
    ],
)
def test_training_and_evaluation(workplace, name, overrides, checkpoint):
    config = f'configs/dp/{name}.py'
    run(workplace, '-m', 'oadp.dp.train', name, config, '--override', *overrides)
    folder = workplace / 'work_dirs' / name
    assert (folder / checkpoint).is_file() and (folder / 'config.py').is_file()
    metrics = ['--metrics', 'bbox', 'segm'] if name.endswith('lvis') else []
    output = run(
        workplace,
        '-m',
        'oadp.dp.test',
        str((folder / 'config.py').relative_to(workplace)),
        str((folder / checkpoint).relative_to(workplace)),
        *metrics,
        '--show-dir',
        f'work_dirs/{name}/show',
        '--out-json',
        f'work_dirs/{name}/metrics.json',
    )
    headline = 'APr' if name.endswith('lvis') else 'AP50'
    assert headline in output
    images = [p for p in files(folder / 'show') if p.suffix in ('.jpg', '.png')]
    assert len(images) == NUM_VAL
    values = json.loads((folder / 'metrics.json').read_text())
    assert values and all(-1 <= v <= 1 for v in values.values() if isinstance(v, float))


def test_dump_and_one_setting(workplace):
    config, folder = 'work_dirs/oadp_ov_coco/config.py', 'work_dirs/oadp_ov_coco'
    run(workplace, '-m', 'oadp.dp.test', config, f'{folder}/iter_2.pth', DUMP='work_dirs/dump')
    output = run(workplace, '-m', 'oadp.dp.test_nni', 'nni', config, 'work_dirs/dump')
    assert 'novel' in output.lower()
