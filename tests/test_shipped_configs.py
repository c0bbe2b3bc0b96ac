"""Every file under configs/ loads by mmcv and by OADP, with the same result."""

import pathlib
from typing import Any

import mmcv
import pytest

from oadp.mini.results import ABLATIONS
from oadp.utils.config import load_config, to_plain

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
FILES = sorted(CONFIGS.rglob('*.py'))


def model_of(name: str) -> dict[str, Any]:
    return to_plain(load_config(CONFIGS / name).model)


@pytest.mark.parametrize('file', FILES, ids=lambda f: str(f.relative_to(CONFIGS)))
def test_mmcv_and_oadp_agree(file: pathlib.Path) -> None:
    by_mmcv = mmcv.Config.fromfile(str(file))._cfg_dict.to_dict()
    assert by_mmcv == to_plain(load_config(file))


def test_all_folders_are_found() -> None:
    folders = {str(file.parent.relative_to(CONFIGS)) for file in FILES}
    assert {'dp', 'dp/datasets', 'dp/models', 'dp/schedules', 'mini', 'oake', 'prompts'} <= folders


@pytest.mark.parametrize('file', sorted((CONFIGS / 'mini').glob('*.py')), ids=lambda f: f.stem)
def test_each_config_of_the_benchmark_names_its_command(file: pathlib.Path) -> None:
    text = file.read_text().replace('mini/seed0/', 'mini/')
    assert f'mini/{file.stem} configs/mini/{file.name}' in text


@pytest.mark.parametrize(
    'name',
    ['none', 'vild', 'oadp', 'oadp_ml', *(f'ablations/{name}' for name in ABLATIONS)],
)
def test_detectors_of_the_benchmark_fit_the_checkpoint_that_they_start_from(name: str) -> None:
    rpn, detector = model_of('mini/rpn.py'), model_of(f'mini/{name}.py')
    assert detector['neck'].pop('norm_cfg') == dict(type='BN', requires_grad=True)
    assert rpn['neck'].pop('norm_cfg') == dict(type='BN')  # trainable by default
    for part in ('backbone', 'neck', 'rpn_head'):
        assert rpn[part] == detector[part]
    assert rpn['train_cfg']['rpn'] == detector['train_cfg']['rpn']


SIZES = {'gain', 'end', 'topk', 'in_features', 'scaler', 'prompts', 'cls_predictor_cfg'}


def without_sizes(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: without_sizes(v) for k, v in node.items() if k not in SIZES}
    return node


@pytest.mark.parametrize('name', ['vild', 'oadp'])
def test_the_benchmark_has_the_method_of_the_full_size_models(name: str) -> None:
    """The benchmark's files repeat it: a base of two sizes and three methods cannot be shared."""
    small, full = (without_sizes(model_of(f'{d}/{name}.py')) for d in ('mini', 'dp/models'))
    assert small['distiller'] == full['distiller']
    assert small.get('global_head') == full.get('global_head')
    for head in ('object_head', 'block_head'):
        assert small['roi_head'].get(head) == full['roi_head'].get(head)
    assert (small['type'], small['roi_head']['type']) == (full['type'], full['roi_head']['type'])
