"""Tests of the command ``oadp.dp.test_nni``."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from small_dump import CATEGORIES, make_small_dump

from oadp.dp import test_nni
from oadp.dp.fusion.scores import FusionParameters

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_small_dump(tmp_path)


def run(files, *options: str) -> dict:
    test_nni.main(['name', str(files.config), str(files.dump), *options])
    return json.loads(pathlib.Path('work_dirs/name/fusion.json').read_text())


def test_default_setting(files, capsys):
    result = run(files)
    assert result['objective'] == 'COCO_3_bbox_mAP_50'
    assert result['value'] == result['metrics']['COCO_3_bbox_mAP_50'] > 0.3
    assert result['parameters'] == FusionParameters().to_dict()
    assert result['images'] == files.num_images
    printed = capsys.readouterr().out
    assert f'{100 * result["value"]:.1f}' in printed
    assert 'bbox novel (3)' in printed
    assert FusionParameters.from_file('work_dirs/name/fusion.json') == FusionParameters()


def test_given_setting_and_objective(files, tmp_path):
    parameters = dict(bbox_novel_gamma=0.8, object_novel_gamma=0.2)
    from_text = run(files, '--parameters', json.dumps(parameters), '--objective', 'base_AP50')
    assert from_text['objective'] == 'COCO_4_bbox_mAP_50'
    assert from_text['parameters'] == {**FusionParameters().to_dict(), **parameters}
    (tmp_path / 'setting.json').write_text(json.dumps(parameters))
    from_file = run(files, '--parameters', str(tmp_path / 'setting.json'))
    assert from_file['metrics'] == from_text['metrics'] != run(files)['metrics']


def test_halves_are_disjoint(files):
    halves = [run(files, '--images', half)['images'] for half in ('train', 'val')]
    assert sum(halves) == files.num_images
    assert min(halves) > 0


def test_dry_run_writes_elsewhere(files, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    test_nni.main(['name', str(files.config), str(files.dump)])
    assert not pathlib.Path('work_dirs/name').exists()
    assert json.loads(pathlib.Path('work_dirs/dry_run/name/fusion.json').read_text())['images'] == 5


def test_errors(files, tmp_path):
    with pytest.raises(ValueError, match="unknown metric 'AP51'; choose from .*novel_AP50"):
        run(files, '--objective', 'AP51')
    with pytest.raises(FileNotFoundError, match=r'DUMP=.*oadp\.dp\.test'):
        test_nni.main(['name', str(files.config), str(tmp_path / 'no')])
    names = dict(bases=CATEGORIES.bases, novels=CATEGORIES.novels[:2])
    (tmp_path / 'categories.json').write_text(json.dumps(names))
    with pytest.raises(ValueError, match='dump of 7 categories, which are not those of the config'):
        run(files)
    assert not pathlib.Path('work_dirs').exists()


@pytest.mark.slow
@pytest.mark.long  # processes of 26 seconds in all
def test_two_processes_give_the_same_result_as_one(files):
    expected = run(files)
    command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command += ['-m', 'oadp.dp.test_nni', 'two', str(files.config), str(files.dump)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    subprocess.run([sys.executable, *command], check=True, env=environment, timeout=300)
    assert json.loads(pathlib.Path('work_dirs/two/fusion.json').read_text()) == expected
