"""Learned prompts on the embedded world, by the commands that one types: they know more than written ones.

The slowest test of all, since a CLIP must know the world for a sentence to matter.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import torch

ROOT = pathlib.Path(__file__).parent.parent.parent
SPLITS = [f'data/mini/annotations/instances_{split}.json' for split in ('train', 'val')]
WORLD = [
    'oadp.mini.world --root data/mini',
    'oadp.build_annotations --categories data/mini/categories.json --annotations '
    + ' '.join(SPLITS),
]
TEACHER = 'oadp.mini.teacher --images 2500 --iterations 2000'  # three quarters of the demo's
PROMPTS = [
    'oadp.oake.blocks mini/oake/blocks configs/mini/blocks.py',
    'oadp.prompts.ml_coco configs/prompts/ml_mini.py',
]

pytestmark = pytest.mark.slow


def run(command: str, root: pathlib.Path) -> str:
    """Returns what it printed to stderr, where the log goes."""
    result = subprocess.run(
        [sys.executable, '-m', *command.split()],
        cwd=root,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp('ml')
    (path / 'configs').symlink_to(ROOT / 'configs')
    for command in WORLD:
        run(command, path)
    (path / 'teacher.log').write_text(run(TEACHER, path))
    for command in PROMPTS:
        run(command, path)
    return path


def test_the_teacher_knows_crops_of_all_classes(root: pathlib.Path) -> None:
    curve = re.findall(
        r'near ([\d.]+) / ([\d.]+) %, wide ([\d.]+) / ([\d.]+) %, blocks ([\d.]+) / ([\d.]+) % '
        r'\(chance ([\d.]+) %\)',
        (root / 'teacher.log').read_text(),
    )
    assert len(curve) >= 10
    *accuracies, chance = map(float, curve[-1])
    assert min(accuracies[:2]) > 80 and min(accuracies) > 10 * chance


def test_map_of_the_validation_images_rises(root: pathlib.Path) -> None:
    training = torch.load(root / 'work_dirs/prompts/ml_mini/latest.pth', weights_only=True)
    template, *epochs = training['history']
    assert len(epochs) == 4
    assert epochs[-1]['base_mAP'] > template['base_mAP']
