"""``oadp.detect`` and ``oadp.web`` take an ONNX file in place of CONFIG and CHECKPOINT."""

import json

import pytest

from oadp import Detector, detect, web
from oadp.inference import web_page

IMAGE = 'data/coco/val2017/000000440669.jpg'


def test_detect(thin, exported, tmp_path):
    model = exported / 'oadp_ov_coco.onnx'
    argv = ['--device', 'cpu', IMAGE, '--output', str(tmp_path), '--score-threshold', '0']
    argv += ['--max-detections', '9', '--vocabulary', 'red kite, zebra crossing']
    assert detect.main([str(model), *argv]) == 0
    results = json.loads((tmp_path / 'detections.json').read_text())
    words = ['red kite', 'zebra crossing']
    expected = Detector.from_onnx(model, device='cpu').with_vocabulary(words)(IMAGE, 0, 9)
    assert [r['category_name'] for r in results] == expected.data['class_name'].tolist()
    assert [r['category_id'] for r in results] == expected.class_id.tolist()
    assert (tmp_path / '000000440669.jpg').is_file()


@pytest.mark.parametrize(
    'command, argv, message',
    [
        (detect, ['x.onnx'], 'an IMAGE is missing'),
        (detect, ['c.py'], 'CHECKPOINT is missing'),
        (detect, ['c.py', 'c.pth'], 'an IMAGE is missing'),
        (detect, ['x.onnx', 'a.jpg', '--override', '.a:1'], '--override changes a config'),
        (web, ['c.py'], 'CHECKPOINT is missing'),
        (web, ['x.onnx', 'c.pth'], 'c.pth: an .onnx file replaces CONFIG'),
        (web, ['x.onnx', '--override', '.a:1'], '--override changes a config'),
    ],
)
def test_contradictory_arguments(command, argv, message, capsys):
    with pytest.raises(SystemExit):
        command.parse_args(argv)
    assert message in capsys.readouterr().err


def test_arguments_and_options_in_any_order():
    args = detect.parse_args(['c.py', '--device', 'cpu', 'c.pth', '--clip', 'x', 'a.jpg', 'b.jpg'])
    assert (str(args.config), str(args.checkpoint), args.images) == (
        'c.py',
        'c.pth',
        ['a.jpg', 'b.jpg'],
    )
    args = detect.parse_args(['x.onnx', 'a.jpg', '--device', 'cpu', 'b.jpg'])
    assert (args.checkpoint, args.images) == (None, ['a.jpg', 'b.jpg'])
    assert web.parse_args(['x.onnx', '--port', '1']).checkpoint is None


def test_detect_without_the_file(tmp_path):
    image = tmp_path / 'a.jpg'
    image.write_bytes(b'')
    with pytest.raises(FileNotFoundError, match='x.onnx: no such ONNX file'):
        detect.main(['x.onnx', str(image), '--output', str(tmp_path / 'out')])


def test_web(thin, exported, monkeypatch):
    pytest.importorskip('gradio', reason='the extra `web` is not installed')
    pages = []
    monkeypatch.setattr(web_page, 'launch', lambda blocks, host, port: pages.append(blocks))
    built = []
    build = web_page.build_page
    monkeypatch.setattr(web_page, 'build_page', lambda d, e: built.append((d, e)) or build(d, e))
    web.main([str(exported / 'vild_ov_coco.onnx'), '--device', 'cpu'])
    [(detector, examples)] = built
    assert len(pages) == 1 and examples == []
    _, summary, rows = web_page.Page(detector).detect(IMAGE, 'cat, person', 0.0)
    assert {row[0] for row in rows} <= {'cat', 'person'} and 'among 2 names' in summary
