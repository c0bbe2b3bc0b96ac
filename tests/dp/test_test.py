import json
import os
import pathlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from training_dataset import BASES, DIM, NOVELS, ROOT, make_training_dataset

from oadp.categories import Categories
from oadp.dp import build_detector, test
from oadp.dp.engine.checkpoints import load_detector, load_weights
from oadp.dp.evaluation import outputs as test_module
from oadp.dp.evaluation.outputs import metrics_file, metrics_table
from oadp.utils.config import load_config

CHECKPOINT = 'work_dirs/run/latest.pth'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a small dataset and a checkpoint with random weights."""
    root = tmp_path_factory.mktemp('test')
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    for config, path in (('ov_coco.py', CHECKPOINT), ('ov_lvis.py', 'masks/epoch_1.pth')):
        torch.manual_seed(0)
        detector = build_detector(load_config(root / config))
        (root / path).parent.mkdir(parents=True)
        embeddings = {'roi_head.bbox_head.fc_cls._embeddings': torch.zeros(5, DIM)}
        state = {**detector.state_dict(), **embeddings}
        torch.save(dict(state_dict=state, meta=dict(epoch=1, seed=np.float64(0))), root / path)
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope='module')
def tested(folder: pathlib.Path) -> str:
    """The output of a test with all options."""
    with pytest.MonkeyPatch.context() as patch, open(folder / 'printed', 'w+') as printed:
        patch.chdir(folder)
        patch.setattr(sys, 'stdout', printed)
        test.main(
            ['ov_coco.py', CHECKPOINT, '--out', 'out/results.pkl', '--show-dir', 'show']
            + ['--show-score-thr', '0', '--show-errors', '--classwise']
        )
        printed.seek(0)
        return printed.read()


def test_table_and_file(tested: str, folder: pathlib.Path):
    assert 'bbox novel (2)' in tested and 'AP50' in tested
    path = folder / 'work_dirs/run/latest.metrics.json'
    assert 'work_dirs/run/latest.metrics.json' in tested
    metrics = json.loads(path.read_text())
    assert 0 <= metrics['COCO_3_2_bbox_mAP_50'] <= 1 and 'COCO_2_bbox_mAP_50' in metrics


def test_classwise_metrics(tested: str, folder: pathlib.Path):
    """Their mean is the metric over all classes; the CSV file and the JSON file are equal."""
    path = folder / 'work_dirs/run/latest.metrics.json'
    assert 'bbox, by category' in tested and 'latest.metrics.classwise.csv' in tested
    metrics = json.loads(path.read_text())
    rows = metrics['bbox_classwise']
    assert [row['category'] for row in rows] == [*BASES, *NOVELS]
    assert [row['group'] for row in rows] == ['base'] * 3 + ['novel'] * 2
    annotations = json.loads((folder / 'val.json').read_text())['annotations']
    assert sum(row['instances'] for row in rows) == len(annotations)
    for column, metric in dict(AP='mAP_', AP50='mAP_50', AR='AR_1000').items():
        values = [row[column] for row in rows if row[column] != -1]
        assert np.mean(values) == pytest.approx(metrics[f'COCO_3_2_bbox_{metric}'])
    lines = path.with_suffix('.classwise.csv').read_text().splitlines()
    assert lines[0] == 'metric,category,group,AP,AP50,AR,instances'
    name, group, *figures, instances = lines[1].split(',')[1:]
    assert (name, group, int(instances)) == (BASES[0], 'base', rows[0]['instances'])
    assert [float(x) for x in figures] == pytest.approx(
        [rows[0][k] for k in ('AP', 'AP50', 'AR')], abs=1e-6
    )


def test_results_file(tested: str, folder: pathlib.Path):
    results = pickle.loads((folder / 'out/results.pkl').read_bytes())
    assert len(results) == 5 and [len(r) for r in results] == [5] * 5
    assert 0 < sum(len(boxes) for boxes in results[0]) <= 20


def test_drawings(tested: str, folder: pathlib.Path):
    drawings = sorted((folder / 'show').iterdir())
    assert [p.stem for p in drawings] == [f'{i:012d}' for i in range(21, 26)]
    # Small images are enlarged, with the same aspect ratio.
    height, width, _ = cv2.imread(str(drawings[0])).shape
    assert (width, height) == (480, 720)


def test_masks(here: pathlib.Path, capsys):
    test.main(
        ['ov_lvis.py', 'masks/epoch_1.pth', '--metrics', 'bbox', 'segm', '--show-dir', 'show_masks']
        + [
            '--out-json',
            'masks.json',
            '--show-score-thr',
            '0',
            '--classwise',
            '--out',
            'masks.out.json',
        ]
    )
    found = json.loads((here / 'masks.out.json').read_text())
    assert {'image_id', 'category_id', 'bbox', 'score', 'segmentation'} == set(found[0])
    assert (here / 'masks.classwise.csv').read_text().count('segm,') == 5
    printed = capsys.readouterr().out
    assert 'APr' in printed and 'segm' in printed
    assert {'bbox_APr', 'segm_APr'} <= set(json.loads((here / 'masks.json').read_text()))
    assert len(list((here / 'show_masks/val').iterdir())) == 5


@pytest.mark.parametrize('name', ['{root}/val/{file}', '../val/{file}', 'x/{file}'])
def test_drawings_are_written_to_their_folder(here: pathlib.Path, tmp_path, name: str):
    """They never overwrite an image, whatever its name in the annotations."""
    folder = tmp_path / 'val'
    folder.mkdir()
    content = json.loads((here / 'val.json').read_text())
    for image in content['images']:
        file = image['file_name'].replace('.png', '.jpg')
        cv2.imwrite(str(folder / file), cv2.imread(f'images/val/{image["file_name"]}'))
        image['file_name'] = name.format(root=tmp_path, file=file)
    (folder / 'x').symlink_to('.')
    annotations = tmp_path / 'val.json'
    annotations.write_text(json.dumps(content))
    before = {p: p.read_bytes() for p in folder.glob('*.jpg')}
    dataset = '.validator.dataloader.dataset'
    test.main(
        ['ov_coco.py', CHECKPOINT, '--show-dir', str(tmp_path / 'show')]
        + [
            '--out-json',
            str(tmp_path / 'a.json'),
            '--override',
            f'{dataset}.ann_file::{annotations}',
        ]
        + [f'{dataset}.img_prefix::{folder}']
    )
    assert len(list((tmp_path / 'show').rglob('*.jpg'))) == 5
    assert {p: p.read_bytes() for p in folder.glob('*.jpg')} == before


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--show-dir', 'images/val'], 'images/val: holds images that are read'),
        (['--show-dir', 'ov_coco.py'], '--show-dir: .*ov_coco.py is not a folder'),
        (['--out', 'x.txt'], '--out x.txt: expected a name that ends in .pkl'),
        (['--out', 'images'], '--out images: expected'),
        (['--out-json', 'val.json'], '--out-json val.json: this file is read'),
    ],
)
def test_output_files_are_checked_before_the_detector_runs(here, monkeypatch, argv, message):
    monkeypatch.setattr(test_module, 'predict', None)
    before = (here / 'val.json').read_bytes()
    with pytest.raises(ValueError, match=message):
        test.main(['ov_coco.py', CHECKPOINT, *argv])
    assert (here / 'val.json').read_bytes() == before


def test_show_errors_without_show_dir(here: pathlib.Path):
    with pytest.raises(ValueError, match='--show-errors adds to the images of --show-dir'):
        test.main(['ov_coco.py', CHECKPOINT, '--show-errors'])


def test_no_masks(here: pathlib.Path):
    with pytest.raises(ValueError, match='the detector of this config has none'):
        test.main(['ov_coco.py', CHECKPOINT, '--metrics', 'segm'])


def test_fusion_changes_the_detections(tested: str, here: pathlib.Path):
    test.main(
        ['ov_coco.py', CHECKPOINT, '--out', 'fused.pkl', '--out-json', 'fused.json']
        + ['--fusion', '{"bbox_novel_gamma": 0.8, "object_novel_gamma": 0.2}']
    )
    fused, plain = (
        pickle.loads((here / path).read_bytes()) for path in ('fused.pkl', 'out/results.pkl')
    )
    novel_scores = [
        np.concatenate([boxes[:, 4] for result in results for boxes in result[len(BASES) :]])
        for results in (fused, plain)
    ]
    assert len(novel_scores[0]) and not np.array_equal(*novel_scores)


def test_dry_run(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv('DRY_RUN', 'True')
    test.main(['ov_coco.py', CHECKPOINT, '--out', 'a/dry.pkl', '--show-dir', 'dry_show'])
    printed = capsys.readouterr().out
    for line in (
        'metrics: work_dirs/dry_run/run/latest.metrics.json',
        'images: work_dirs/dry_run/test/dry_show',
    ):
        assert line in printed
    # Metrics on four images are not written to the given files.
    assert not (here / 'a').exists() and not (here / 'dry_show').exists()
    assert len(pickle.loads((here / 'work_dirs/dry_run/test/dry.pkl').read_bytes())) == 4
    assert len(list((here / 'work_dirs/dry_run/test/dry_show').iterdir())) == 4


def test_fusion_without_an_object_head(here: pathlib.Path):
    override = ['.model.roi_head.object_head:None', '.model.distiller:None']
    config = load_config('ov_coco.py', {key: None for key in (o.split(':')[0] for o in override)})
    path = 'none/latest.pth'
    (here / path).parent.mkdir(exist_ok=True)
    torch.save(build_detector(config).state_dict(), path)
    with pytest.raises(ValueError, match='--fusion: this OADP has no object head'):
        test.main(['ov_coco.py', path, '--fusion', '{}', '--override', *override])


def test_options_without_effect_on_a_dump(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('DUMP', 'dump')
    with pytest.raises(ValueError, match='--out, --fusion would have no effect: with DUMP=dump'):
        test.main(['ov_coco.py', CHECKPOINT, '--out', 'x.pkl', '--fusion', '{}'])


@pytest.mark.slow
def test_two_processes_give_the_same_metrics_as_one(tested: str, here: pathlib.Path):
    """Each of five images is evaluated once on two processes."""
    subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
        + ['--master_port=29643', '-m', 'oadp.dp.test', 'ov_coco.py', CHECKPOINT]
        + ['--out', 'two.pkl', '--out-json', 'two.json'],
        check=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        timeout=280,
    )
    one = json.loads((here / 'work_dirs/run/latest.metrics.json').read_text())
    one.pop('bbox_classwise', None)  # asked for in the one process only
    assert json.loads((here / 'two.json').read_text()) == pytest.approx(one, abs=1e-6)
    results = [pickle.loads((here / path).read_bytes()) for path in ('two.pkl', 'out/results.pkl')]
    for two, one in zip(*results, strict=True):
        for a, b in zip(two, one, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize(
    ('checkpoint', 'expected'),
    [
        ('work_dirs/oadp/iter_2.pth', 'work_dirs/oadp/iter_2.metrics.json'),
        ('work_dirs/a/b/latest.pth', 'work_dirs/a/b/latest.metrics.json'),
        ('elsewhere/released/oadp.pth', 'work_dirs/released/oadp.metrics.json'),
        ('/elsewhere/released/oadp.pth', 'work_dirs/released/oadp.metrics.json'),
    ],
)
def test_metrics_file(checkpoint: str, expected: str):
    assert metrics_file(pathlib.Path(checkpoint)) == pathlib.Path(expected)


def test_table_marks_metrics_without_ground_truth():
    items = ('mAP_', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR_1000')
    metrics = {f'COCO_{p}_bbox_{i}': 0.125 for p in ('3_2', '3', '2') for i in items}
    metrics['COCO_2_bbox_mAP_s'] = -1.0
    table = metrics_table(metrics, Categories(BASES, NOVELS), ['bbox'])
    assert [str(c) for c in table.columns[0].cells] == [
        'bbox novel (2)', 'bbox base (3)', 'bbox all (5)',
    ]  # fmt: skip
    assert list(table.columns[4].cells) == ['–', '12.5', '12.5']


def test_checkpoint_of_the_reference(golden: pathlib.Path, thin, caplog: pytest.LogCaptureFixture):
    """All keys of the recorded weights of the reference are loaded."""
    config = load_config(thin / 'oadp_ov_coco.py')
    detector = load_detector(config, thin / 'oadp_ov_coco.pth', torch.device('cpu'))
    recorded = torch.load(golden / 'expected/dp/oadp_ov_coco.weights.pth', weights_only=True)
    for key, value in detector.state_dict().items():
        assert torch.equal(value, recorded[key].to(value.dtype)), key
    assert not detector.training


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'rpn_head.rpn_cls.bias': torch.zeros(3), 'x': torch.zeros(1)}, '1 keys unexpected: x'),
        ({'other.weight': torch.zeros(1)}, 'the model has none of its keys'),
        (
            {'rpn_head.rpn_cls.bias': torch.zeros(7)},
            r'rpn_head.rpn_cls.bias: found \(7,\), expected \(3,\)',
        ),
        ([1], 'expected a state dict'),
    ],
)
def test_not_a_checkpoint_of_the_model(here, tmp_path: pathlib.Path, state, message: str):
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message):
        load_weights(build_detector(load_config('ov_coco.py')), tmp_path / 'x.pth')
