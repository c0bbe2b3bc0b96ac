"""The command: what it writes, and what it refuses."""

import json
import pathlib
import sys

import pytest

onnx = pytest.importorskip('onnx', reason='the extra `export` is not installed')

from oadp import Detector  # noqa: E402
from oadp.export import main  # noqa: E402

IMAGE = 'data/coco/val2017/000000440669.jpg'
VILD = ('vild_ov_coco.py', 'vild_ov_coco.pth')


def metadata(path: pathlib.Path) -> dict:
    return {e.key: json.loads(e.value) for e in onnx.load(path).metadata_props}


def test_options_reach_the_file(thin, tmp_path):
    out = tmp_path / 'a' / 'b.onnx'
    argv = ['--opset', '18', '--image-size', '160', '224', '--clip', 'mine.pt', '--fp16']
    main([*VILD, str(out), *argv, '--override', '.model.test_cfg.rcnn.max_per_img:20'])
    assert sorted(p.name for p in out.parent.iterdir()) == ['b.onnx', 'b.vocabulary.npz']
    assert [o.version for o in onnx.load(out).opset_import] == [18]
    values = metadata(out)
    assert values['oadp.preprocessing'] == {
        'size': [224, 160],
        'mean': [123.675, 116.28, 103.53],
        'std': [58.395, 57.12, 57.375],
        'channels': 'RGB',
        'divisor': 32,
    }
    assert values['oadp.clip'] == 'mine.pt' and values['oadp.precision'] == 'float16'
    assert len(Detector.from_onnx(out)(IMAGE)) == 20


@pytest.mark.parametrize(
    'override',
    [
        pytest.param('.model.test_cfg.rpn.min_bbox_size:9999', id='no proposal'),
        pytest.param('.model.test_cfg.rcnn.score_thr:1.0', id='no candidate'),
    ],
)
def test_nothing_to_detect(thin, tmp_path, override):
    main(['oadp_ov_lvis.py', 'oadp_ov_lvis.pth', str(tmp_path / 'x.onnx'), '--override', override])
    found = Detector.from_onnx(tmp_path / 'x.onnx')(IMAGE)
    assert found.xyxy.shape == (0, 4) and found.mask.shape[0] == 0


@pytest.mark.parametrize(
    'argv, message',
    [
        pytest.param(['none.py', 'x.pth', 'x.onnx'], 'none.py: no such config', id='no config'),
        pytest.param(['vild_ov_coco.py', 'x.pth', 'x.onnx'], 'x.pth', id='no checkpoint'),
        pytest.param(
            [*VILD, 'x.onnx', '--opset', '11'], 'opset 11: expected at least 16', id='opset'
        ),
        pytest.param([*VILD, 'x.onnx', '--text-encoder', '--clip', 'no.pt'], 'no.pt', id='no CLIP'),
        pytest.param(
            [*VILD, 'x.onnx', '--override', '.model.test_cfg.rcnn.nms.type::soft_nms'],
            "ViLD cannot be exported: test_cfg.rcnn.nms is .*soft_nms.*expected type='nms' alone",
            id='another suppression',
        ),
    ],
)
def test_refuses(thin, tmp_path, argv, message):
    argv = [str(tmp_path / a) if a == 'x.onnx' else a for a in argv]
    with pytest.raises((OSError, ValueError, ImportError), match=message):
        main(argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'argv, message',
    [
        pytest.param([*VILD, 'x.pt'], 'ends in .onnx', id='another format'),
        pytest.param([*VILD, 'x.onnx', '--image-size', '8', '9'], 'at least 32', id='tiny'),
    ],
)
def test_arguments(argv, message, capsys):
    with pytest.raises(SystemExit):
        main(argv)
    assert message in capsys.readouterr().err


def test_says_what_to_install(thin, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises((OSError, ValueError, ImportError), match=r'pip install -e .\[export\]'):
        main([*VILD, str(tmp_path / 'x.onnx')])
