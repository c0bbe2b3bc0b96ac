"""The benchmark's commands, and that its settings are comparable."""

import itertools
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from oadp.mini.pipeline import Scale, stages
from oadp.mini.results import ABLATIONS, DEMO, SETTINGS
from oadp.mini.run import parse_args
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).parents[2]


def test_every_stage_comes_after_those_it_needs() -> None:
    known: set[str] = set()
    for stage in stages(range(2), Scale(), list(SETTINGS)):
        assert known.issuperset(stage.needs), stage.name
        assert stage.name not in known
        known.add(stage.name)


def config(name: str) -> Any:
    return load_config(ROOT / f'configs/mini/{"ablations/" * (name in ABLATIONS)}{name}.py')


def test_validation_images_are_used_for_evaluation_only() -> None:
    for stage in stages(range(1), Scale()):
        if any('instances_val' in argument for argument in stage.command):
            assert stage.name == 'annotations/val'
    for name in SETTINGS:
        trainer = config(name).trainer
        assert 'val' not in str(trainer.dataloader).replace('interval', '')
        assert trainer.evaluation is None


def test_the_settings_differ_in_distillation_only() -> None:
    configs = {name: config(name) for name in SETTINGS}
    none, vild = configs['none'], configs['vild']
    for name, other in configs.items():
        assert other.trainer == none.trainer
        assert other.validator == none.validator
        assert other.categories == none.categories
        for key in ('backbone', 'neck', 'rpn_head', 'train_cfg', 'test_cfg'):
            assert other.model[key] == none.model[key]
        for key in ('bbox_roi_extractor', 'bbox_head'):
            assert other.model.roi_head[key] == none.model.roi_head[key]
        if name != 'none':
            assert other.model.roi_head.object_head == vild.model.roi_head.object_head
    assert 'object_head' not in none.model.roi_head and 'distiller' not in none.model


def test_each_setting_adds_one_loss_with_the_weight_of_oadp() -> None:
    losses = [
        {key: loss for key, loss in config(name).model.distiller.losses.items() if loss}
        for name in SETTINGS
        if name != 'none'
    ]
    assert [set(more) - set(less) for less, more in itertools.pairwise(losses)] == [
        {'loss_clip_blocks'},
        {'loss_clip_block_relations'},
        {'loss_clip_global'},
    ]
    for used in losses:
        assert all(loss == losses[-1][key] for key, loss in used.items())


def test_all_settings_of_a_seed_start_from_its_rpn_which_starts_from_random_weights() -> None:
    proposals = load_config(ROOT / 'configs/mini/rpn.py')
    assert proposals.trainer.load_from is None and proposals.model.backbone.init_cfg is None
    made_by = {stage.name: stage for stage in stages(range(2), Scale(), list(SETTINGS))}
    for name in SETTINGS:
        assert config(name).trainer.load_from == 'work_dirs/mini/seed0/rpn/latest.pth'
        for seed in range(2):
            stage, rpn = made_by[f'seed{seed}/{name}'], made_by[f'seed{seed}/rpn']
            assert rpn.name in stage.needs and f'.trainer.seed:{seed}' in rpn.command
            assert f'.trainer.load_from::{rpn.outputs[0]}/latest.pth' in stage.command


def test_all_seeds_share_the_features() -> None:
    made_by = {stage.name: stage for stage in stages(range(2), Scale())}
    assert made_by['proposals'].needs == ('seed0/rpn',)
    assert {'objects', 'blocks', 'globals'} <= set(made_by['seed1/oadp'].needs)
    assert not {'objects', 'blocks', 'globals'} & set(made_by['seed1/none'].needs)


@pytest.mark.parametrize('option', ['--seeds', '--proposals', '--teacher-steps'])
def test_counts_of_zero_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        parse_args([option, '0'])
    assert f'{option} 0: expected 1 or more' in capsys.readouterr().err


def test_a_negative_seed_of_the_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        parse_args(['--data-seed', '-1'])
    assert '--data-seed -1: expected 0 or more' in capsys.readouterr().err


def test_options_reach_the_commands() -> None:
    def commands(*args: Any) -> str:
        return '\n'.join(str(stage) for stage in stages(*args))

    default = commands([0], Scale())
    few = commands([0], Scale(proposals=3))
    assert 'max_per_img' not in default and few.count('.model.test_cfg.rpn.max_per_img:3') == 1
    assert '--seed 7' not in default and commands([0], Scale(), DEMO, 7).count('--seed 7') == 1
    trained = commands([0], Scale(teacher_steps=9), DEMO, 7)
    assert 'oadp.mini.shipped_clip' in default and 'oadp.mini.teacher' not in default
    assert trained.count('--seed 7') == 2 and '--iterations 9' in trained
    assert 'oadp.mini.shipped_clip' not in trained
    assert 'seed0/vild' not in commands([0], Scale(), ['none', 'oadp'])


@pytest.mark.parametrize('name', [*SETTINGS, 'rpn'])
def test_training_uses_base_boxes_only(name: str) -> None:
    file = config(name).trainer.dataloader.dataset.ann_file
    assert file.endswith('instances_train.64.json')


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
