"""The benchmark's commands, and that its settings are comparable."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from oadp.mini.results import SETTINGS
from oadp.mini.run import Scale, stages
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).parents[2]


def test_every_stage_comes_after_those_it_needs() -> None:
    known: set[str] = set()
    for stage in stages(range(2), Scale()):
        assert known.issuperset(stage.needs), stage.name
        assert stage.name not in known
        known.add(stage.name)


def test_validation_images_are_used_for_evaluation_only() -> None:
    for stage in stages(range(1), Scale()):
        if any('instances_val' in argument for argument in stage.command):
            assert stage.name == 'annotations/val'
    for name in SETTINGS:
        config = load_config(ROOT / f'configs/mini/{name}.py')
        assert 'val' not in str(config.trainer.dataloader).replace('interval', '')
        assert config.trainer.evaluation is None


def test_the_settings_differ_in_distillation_only() -> None:
    configs = {name: load_config(ROOT / f'configs/mini/{name}.py') for name in SETTINGS}
    none, vild, oadp = (configs[name] for name in ('none', 'vild', 'oadp'))
    for other in (vild, oadp):
        assert other.trainer == none.trainer
        assert other.validator == none.validator
        assert other.categories == none.categories
        for key in ('backbone', 'neck', 'rpn_head', 'train_cfg', 'test_cfg'):
            assert other.model[key] == none.model[key]
        for key in ('bbox_roi_extractor', 'bbox_head'):
            assert other.model.roi_head[key] == none.model.roi_head[key]
    assert vild.model.roi_head.object_head == oadp.model.roi_head.object_head
    assert 'object_head' not in none.model.roi_head and 'distiller' not in none.model
    objects = 'loss_clip_objects'
    assert vild.model.distiller.losses[objects] == oadp.model.distiller.losses[objects]
    assert set(vild.model.distiller.losses) == {objects}
    assert set(oadp.model.distiller.losses) > {objects}


def test_all_settings_start_from_the_rpn_which_starts_from_random_weights() -> None:
    proposals = load_config(ROOT / 'configs/mini/rpn.py')
    assert proposals.trainer.load_from is None and proposals.model.backbone.init_cfg is None
    made_by = {stage.name: stage for stage in stages(range(1), Scale())}
    for name in SETTINGS:
        config = load_config(ROOT / f'configs/mini/{name}.py')
        assert config.trainer.load_from == 'work_dirs/mini/rpn/latest.pth'
        assert made_by['rpn'].outputs[0] in pathlib.Path(config.trainer.load_from).parents
        assert 'rpn' in made_by[f'seed0/{name}'].needs


@pytest.mark.parametrize('name', [*SETTINGS, 'rpn'])
def test_training_uses_base_boxes_only(name: str) -> None:
    config = load_config(ROOT / f'configs/mini/{name}.py')
    assert config.trainer.dataloader.dataset.ann_file.endswith('instances_train.18.json')


def processes_in(folder: pathlib.Path) -> list[str]:
    """The processes whose working directory it is."""
    found = []
    for process in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if (process / 'cwd').resolve() == folder.resolve():
                found.append((process / 'cmdline').read_text())
        except OSError:  # ended, or another user's
            continue
    return found


def test_no_command_outlives_the_demo(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, '-m', 'oadp.mini', '--small', '--root', str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as demo:
        try:
            until = time.monotonic() + 300  # on a busy machine, imports take a minute
            while not processes_in(tmp_path):
                assert demo.poll() is None and time.monotonic() < until
                time.sleep(0.1)
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(60) == 128 + signal.SIGTERM
        finally:
            demo.terminate()  # otherwise, leaving the block waits for the whole demo
    assert processes_in(tmp_path) == []
