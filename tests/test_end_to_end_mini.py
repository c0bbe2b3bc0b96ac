"""The embedded benchmark at its smallest size: every command, from the dataset to the table."""

import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import torch

from oadp.data.features.stores import check, open_store
from oadp.data.prompt_files import read_prompts
from oadp.mini.classes import BASES, NOVELS
from oadp.mini.pipeline import SMALL, stages
from oadp.mini.results import DEMO, METRICS
from oadp.mini.settings import TeacherSettings
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).parent.parent
DIM = TeacherSettings.embedding

pytestmark = pytest.mark.slow


def run_small(root: pathlib.Path) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, '-m', 'oadp.mini', '--small', '--root', str(root)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp('mini')
    result = run_small(path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'ViLD (objects)' in result.stdout and 'results.json' in result.stdout
    return path


def test_every_stage_makes_its_outputs(root: pathlib.Path) -> None:
    for stage in stages(range(1), SMALL):
        for output in stage.outputs:
            assert (root / output).exists(), f'{stage.name}: {output}'


def test_the_results_are_numbers(root: pathlib.Path) -> None:
    results = json.loads((root / 'work_dirs/mini/results.json').read_text())
    assert set(results) == set(DEMO)
    for by_seed in results.values():
        assert set(by_seed) == {'0'} and set(by_seed['0']) == set(METRICS)
        assert all(0 <= value <= 100 for value in by_seed['0'].values())


def test_features_are_of_training_images_only(root: pathlib.Path) -> None:
    training = json.loads((root / 'data/mini/annotations/instances_train.json').read_text())
    ids = sorted(image['id'] for image in training['images'])
    assert len(ids) == SMALL.train
    for kind in ('globals', 'blocks', 'objects'):
        splits = {p.name for p in (root / 'data/mini/oake' / kind).iterdir()}
        # Blocks of validation images are for the mAP of learned prompts.
        assert splits == ({'train', 'val'} if kind == 'blocks' else {'train'})
        store = open_store(root / 'data/mini/oake' / kind / 'train', kind)
        assert sorted(store.ids()) == ids
        for image_id in ids[:5]:
            check(kind, store.read(image_id), dim=DIM)


def test_proposals_stand_in_the_order_of_the_ids(root: pathlib.Path) -> None:
    proposals = pickle.loads((root / 'data/mini/proposals/rpn_train.pkl').read_bytes())
    assert len(proposals) == SMALL.train
    store = open_store(root / 'data/mini/oake/objects/train', 'objects')
    for image_id, boxes in zip(sorted(store.ids()), proposals, strict=True):
        assert boxes.shape[1] == 5 and str(boxes.dtype) == 'float32'
        assert (boxes[:-1, 4] >= boxes[1:, 4]).all()
        sides = boxes[:, 2:4] - boxes[:, :2]
        kept = torch.from_numpy(boxes[(sides >= 4).all(axis=1), :4])
        torch.testing.assert_close(
            store.read(image_id)['bboxes'].float(), kept, atol=0.1, rtol=1e-3
        )


def test_prompts_name_all_classes(root: pathlib.Path) -> None:
    prompts = read_prompts(root / 'data/mini/prompts/vild.pth')
    assert set(BASES + NOVELS) <= set(prompts['names'])
    assert prompts['embeddings'].shape[1] == DIM


def test_training_uses_no_novel_label(root: pathlib.Path) -> None:
    used = []
    for config in root.glob('work_dirs/mini/**/config.py'):
        text = config.read_text()
        assert 'instances_train.64.json' in text
        assert 'instances_train.json' not in text and 'instances_train.96' not in text
        used.append(config)
    assert len(used) == 1 + 3 + len(DEMO)  # proposals, features, detectors
    training = json.loads((root / 'data/mini/annotations/instances_train.64.json').read_text())
    names = {c['id']: c['name'] for c in training['categories']}
    assert {names[a['category_id']] for a in training['annotations']} <= set(BASES)


def test_a_second_run_repeats_only_the_stage_with_a_missing_output(root: pathlib.Path) -> None:
    unchanged = root / 'work_dirs/mini/seed0/oadp/latest.pth'
    before = unchanged.stat().st_mtime_ns
    (root / 'work_dirs/mini/detections.jpg').unlink()
    result = run_small(root)
    assert result.returncode == 0, result.stderr[-3000:]
    assert unchanged.stat().st_mtime_ns == before
    assert (root / 'work_dirs/mini/detections.jpg').is_file()
    assert result.stderr.count('already complete') == len(stages(range(1), SMALL)) - 1


def test_learned_prompts_can_replace_the_templates(root: pathlib.Path) -> None:
    # Last in the file, as it adds to what the demo left behind.
    few = ['.trainer.runner.max_iters:2', '.trainer.checkpoint_config.interval:2']
    for command in (
        ['oadp.prompts.ml_coco', 'configs/prompts/ml_mini.py', '--override', '.epochs:1'],
        ['oadp.dp.train', 'mini/oadp_ml', 'configs/mini/oadp_ml.py', '--override', *few],
    ):
        result = subprocess.run(
            [sys.executable, '-m', *command],
            cwd=root,
            env=dict(os.environ, PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr[-3000:]
    prompts = read_prompts(root / 'data/mini/prompts/ml.pth')
    assert prompts['names'] == list(BASES + NOVELS)
    assert {'scaler', 'bias'} <= set(prompts)
    model = load_config(root / 'work_dirs/mini/oadp_ml/config.py').model
    classifiers = [
        model.roi_head.object_head.cls_predictor_cfg,
        model.roi_head.block_head.cls_predictor_cfg,
        model.global_head.classifier,
    ]
    assert all(c.type == 'Classifier' and c.prompts.endswith('/ml.pth') for c in classifiers)
    assert (root / 'work_dirs/mini/oadp_ml/latest.pth').is_file()
