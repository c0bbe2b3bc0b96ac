import logging
import pathlib
import types

import pytest
import torch

from oadp.compat import load_tensors
from oadp.dp import build_detector
from oadp.dp.engine import checkpoints, runners
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[3]


def save(folder: pathlib.Path, step: int, **options) -> None:
    path = folder / f'iter_{step}.pth'
    checkpoints.save_checkpoint(path, dict(state_dict=dict(x=torch.tensor(step))), **options)


def test_latest_links_to_the_newest_checkpoint(tmp_path: pathlib.Path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    save(tmp_path, 3, link=False)
    assert {p.name for p in tmp_path.iterdir()} == {
        'iter_1.pth', 'iter_2.pth', 'iter_3.pth', 'latest.pth',
    }  # fmt: skip
    assert load_tensors(tmp_path / 'latest.pth')['state_dict']['x'] == 2


def test_interrupted_write_keeps_the_old_file(tmp_path: pathlib.Path, monkeypatch):
    save(tmp_path, 1)

    def cut_off(data: object, path: pathlib.Path) -> None:
        pathlib.Path(path).write_bytes(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, 'save', cut_off)
        save(tmp_path, 2)
    assert not (tmp_path / 'iter_2.pth').exists()
    assert load_tensors(tmp_path / 'latest.pth')['state_dict']['x'] == 1
    save(tmp_path, 2)
    assert not list(tmp_path.glob('.*'))  # temporary files are removed


@pytest.mark.parametrize('name', ['vild_ov_coco', 'oadp_ov_coco', 'oadp_ov_lvis'])
def test_shipped_configs_are_tested_in_single_precision(name: str):
    config = load_config(ROOT / f'configs/dp/{name}.py', {'.validator.fp16': False})
    assert not checkpoints.computes_in_half(config, torch.device('cuda'))
    assert not checkpoints.computes_in_half(
        load_config(ROOT / f'configs/dp/{name}.py'), torch.device('cuda')
    )


@pytest.mark.parametrize(
    ('config', 'device', 'expected'),
    [
        (dict(validator=dict(fp16=True)), 'cuda', True),
        (dict(validator=dict(fp16=dict())), 'cuda', True),
        (dict(validator=dict(fp16=dict(loss_scale=64.0))), 'cuda', True),
        (dict(validator=dict(fp16=True)), 'cpu', False),
        (dict(validator=dict(fp16=False)), 'cuda', False),
        (dict(validator=dict(fp16=0)), 'cuda', False),
        (dict(validator=dict(fp16=dict())), 'cpu', False),
        (dict(validator=dict(fp16=None)), 'cuda', False),
        (dict(validator=dict()), 'cuda', False),
        (dict(data=dict(test=dict())), 'cuda', False),
    ],
    ids=[
        'on a GPU',
        'a dict, as in mmdet',
        'with options',
        'not on a CPU',
        'off',
        'zero',
        'a dict, on a CPU',
        'none',
        'not asked for',
        "a config of mmdet's own",
    ],  # fmt: skip
)
def test_half_precision(config: dict, device: str, expected: bool):
    assert checkpoints.computes_in_half(config, torch.device(device)) is expected


@pytest.fixture
def saved(tiny_config, tmp_path: pathlib.Path):
    """The config of a detector, a state dict in the format of the authors, and a path for it."""
    state = build_detector(tiny_config).state_dict()
    for head in ('bbox_head.fc_cls', '_object_head.fc_cls', '_block_head.fc_cls'):
        state[f'roi_head.{head}._embeddings'] = torch.zeros(5, 16)
    state['_global_head._classifier._embeddings'] = torch.zeros(5, 16)
    state['roi_head._lambda'] = torch.full((6,), 2 / 3)
    return tiny_config, state, tmp_path / 'a.pth'


def records(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == level]


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO)
    return logging.getLogger('test')


def without(state: dict, *parts: str) -> dict:
    return {k: v for k, v in state.items() if not k.startswith(parts)}


def test_keys_of_the_authors_code_are_not_reported(saved, caplog, logger):
    config, state, path = saved
    torch.save(dict(state_dict=state), path)
    checkpoints.load_weights(build_detector(config), path, logger=logger)
    assert records(caplog, logging.WARNING) == []
    assert len(records(caplog, logging.INFO)) == 1  # the number of loaded tensors


@pytest.mark.parametrize('parts', [['_global_head.'], ['_global_head.', 'roi_head._block_head.']])
def test_heads_for_training_may_be_missing(saved, caplog, logger, parts):
    config, state, path = saved
    torch.save(dict(state_dict=without(state, *parts)), path)
    checkpoints.load_weights(build_detector(config), path, logger=logger)
    assert records(caplog, logging.WARNING) == []
    line, _ = records(caplog, logging.INFO)
    assert all(part.strip('.') in line for part in parts) and 'does not use' in line
    assert '\n' not in line


@pytest.mark.parametrize('part', ['roi_head._object_head.', 'roi_head.bbox_head.', 'neck.'])
def test_parts_for_inference_must_exist(saved, part: str):
    config, state, path = saved
    torch.save(dict(state_dict=without(state, part)), path)
    with pytest.raises(ValueError, match=f'keys missing: {part}'):
        checkpoints.load_weights(build_detector(config), path)


def test_extra_heads_and_keys(saved, caplog, logger):
    config, state, path = saved
    torch.save(dict(state_dict={**state, 'mine.weight': torch.zeros(1)}), path)
    config.model.update(dict(global_head=None, distiller=None))
    config.model.roi_head.block_head = None
    checkpoints.load_weights(build_detector(config), path, logger=logger)
    (warning,) = records(caplog, logging.WARNING)
    assert '1 keys unexpected: mine.weight' in warning
    assert '_global_head and roi_head._block_head unexpected' in records(caplog, logging.INFO)[0]


def test_an_object_head_that_the_config_lacks(saved, caplog, logger):
    config, state, path = saved
    torch.save(dict(state_dict=state), path)
    config.model.update(dict(distiller=None))
    config.model.roi_head.object_head = None
    checkpoints.load_weights(build_detector(config), path, logger=logger)
    (warning,) = records(caplog, logging.WARNING)
    assert 'unexpected: roi_head._object_head' in warning


def test_resume_from_a_checkpoint_of_the_authors(saved, caplog, logger):
    config, state, path = saved
    torch.save(dict(state_dict=state, meta=dict(iter=1), optimizer={}), path)
    detector = build_detector(config)
    data = checkpoints.load_run(detector, path, logger=logger)
    assert data['meta'] == dict(iter=1)
    for key, value in detector.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert records(caplog, logging.WARNING) == []
    (line,) = records(caplog, logging.INFO)
    assert 'ignored 5 keys' in line and 'roi_head._lambda' in line


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: without(s, '_global_head.'), 'keys missing: _global_head'),
        (lambda s: {**s, 'mine': torch.zeros(1)}, '1 keys unexpected: mine'),
        (
            lambda s: {**s, 'rpn_head.rpn_cls.bias': torch.zeros(7)},
            r'found \(7,\), expected \(3,\)',
        ),
    ],
    ids=['head missing', 'unknown key', 'shape'],
)
def test_resume_from_a_run_of_another_config(saved, change, message: str):
    config, state, path = saved
    torch.save(dict(state_dict=change(state)), path)
    with pytest.raises(ValueError, match=f'not a checkpoint of a run of this config.*{message}'):
        checkpoints.load_run(build_detector(config), path)


def test_non_finite_weights_are_not_written(tmp_path: pathlib.Path):
    """Non-finite gradients make the weights non-finite in a step with a finite loss."""
    runner = object.__new__(runners.ResumableIterBasedRunner)
    layer = torch.nn.Linear(2, 2)
    runner.model = types.SimpleNamespace(module=layer)
    runner.meta, runner._epoch, runner._iter = {}, 0, 4
    runner.save_checkpoint(tmp_path, save_optimizer=False)
    layer.weight.data[0, 0] = float('nan')
    runner._iter = 5
    with pytest.raises(ValueError, match=r'iter_6\.pth: NaN or infinity in weight; not written'):
        runner.save_checkpoint(tmp_path, save_optimizer=False)
    assert (tmp_path / 'latest.pth').readlink() == pathlib.Path('iter_5.pth')
