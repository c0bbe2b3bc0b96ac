"""The command: drawings, one file of results, and one bad image does not stop the others."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from oadp import Detector
from oadp.data import drawing as visualize
from oadp.detect import main
from oadp.inference import detect_images as detect
from oadp.inference.detect_images import image_ids

CONFIG = ['oadp_ov_coco.py', 'oadp_ov_coco.pth', '--device', 'cpu']
FOLDER = 'data/coco/val2017'
IMAGES = ['data/coco/val2017/000000440669.jpg', 'data/coco/val2017/000000194116.jpg']


def run(out: pathlib.Path, *args: str) -> tuple[int, list[dict]]:
    status = main([*CONFIG, '--output', str(out), *args])
    return status, json.loads((out / 'detections.json').read_text())


def test_own_classes(thin, tmp_path):
    status, results = run(tmp_path, *IMAGES, '--score-threshold', '0.01', '--max-detections', '9')
    assert status == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        '000000194116.jpg',
        '000000440669.jpg',
        'detections.json',
    ]
    expected = Detector.from_checkpoint(*CONFIG[:2], device='cpu')(IMAGES[0], 0.01, 9)
    mine = [r for r in results if r['image_id'] == 440669]
    assert [r['category_id'] for r in mine] == expected.class_id.tolist()
    assert [r['category_name'] for r in mine] == expected.data['class_name'].tolist()
    assert {r['file_name'] for r in mine} == {IMAGES[0]}
    np.testing.assert_allclose([r['score'] for r in mine], expected.confidence, atol=1e-5)
    xywh = np.array([r['bbox'] for r in mine])
    xyxy = np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]
    np.testing.assert_allclose(xyxy, expected.xyxy, atol=0.03)
    drawn = np.asarray(PIL.Image.open(tmp_path / '000000440669.jpg'))
    size = np.asarray(PIL.Image.open(IMAGES[0]).convert('RGB')).shape
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(size[0] / size[1], abs=0.01)


def test_results_are_coco_s(thin, tmp_path):
    """pycocotools loads them beside annotations with these ids and categories."""
    _, results = run(tmp_path, FOLDER, '--score-threshold', '0', '--max-detections', '5')
    names = Detector.from_checkpoint(*CONFIG[:2]).names
    truth = COCO()
    truth.dataset = {
        'images': [{'id': int(p.stem)} for p in pathlib.Path(FOLDER).iterdir()],
        'annotations': [],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(names)],
    }
    truth.createIndex()
    assert len(truth.loadRes(results).getImgIds()) == 5
    assert len(results) == 25


def test_vocabulary(thin, tmp_path):
    args = [IMAGES[0], '--score-threshold', '0', '--max-detections', '20']
    status, results = run(tmp_path / 'a', *args, '--vocabulary', 'red kite, Mug,mug ,')
    assert status == 0
    assert {(r['category_id'], r['category_name']) for r in results} <= {
        (0, 'red kite'),
        (1, 'Mug'),
    }
    words = tmp_path / 'words.txt'
    words.write_text('red kite\n\nMug\n')
    assert run(tmp_path / 'b', *args, '--vocabulary-file', str(words)) == (0, results)


def test_masks(thin, tmp_path):
    argv = ['oadp_ov_lvis.py', 'oadp_ov_lvis.pth', IMAGES[0], '--output', str(tmp_path)]
    argv += ['--score-threshold', '0', '--max-detections', '3', '--vocabulary', 'mug, cup']
    assert main([*argv, '--device', 'cpu']) == 0
    results = json.loads((tmp_path / 'detections.json').read_text())
    assert len(results) == 3
    with PIL.Image.open(IMAGES[0]) as image:
        size = [image.height, image.width]
    for r in results:
        mask = coco_mask.decode(r['segmentation'])
        assert list(mask.shape) == r['segmentation']['size'] == size
        x, y, w, h = r['bbox']
        ys, xs = mask.nonzero()
        if len(ys):
            assert x - 2 <= xs.min() and xs.max() <= x + w + 2
            assert y - 2 <= ys.min() and ys.max() <= y + h + 2


def test_one_bad_image_does_not_stop_the_others(thin, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(detect._logger, 'propagate', True)
    broken = tmp_path / 'broken.jpg'
    broken.write_text('no image')
    narrow = tmp_path / 'narrow.png'
    PIL.Image.new('RGB', (5000, 1)).save(narrow)
    argv = [IMAGES[0], str(broken), 'gone.jpg', 'nothing/*.png', str(narrow), IMAGES[1]]
    status, results = run(tmp_path / 'out', *argv, '--score-threshold', '0')
    assert status == 1
    assert {r['file_name'] for r in results} == set(IMAGES)
    last = caplog.records[-1].getMessage()
    for fault in (
        '4 inputs failed',
        'broken.jpg: not a readable',
        'gone.jpg: no such',
        'nothing/*.png',
        'narrow.png: an image of 5000 × 1',
    ):
        assert fault in last
    assert len(list((tmp_path / 'out').iterdir())) == 3


def test_unusual_drawings(thin, tmp_path):
    """A name that holds hardly a suffix more, sides that JPEG cannot hold, a strip, a turned image."""
    images = tmp_path / 'in'
    images.mkdir()
    name = '图' * 83
    for file, size in (
        (f'{name}.png', (60, 40)),
        ('long.png', (200, 65_600)),
        ('strip.png', (20, 5000)),
    ):
        PIL.Image.new('RGB', size).save(images / file)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new('RGB', (60, 40)).save(images / 'turned.jpg', exif=exif)
    out = tmp_path / 'out'
    status, results = run(out, str(images), '--score-threshold', '0')
    assert status == 0
    assert {r['file_name'] for r in results} == {str(p) for p in images.iterdir()}
    with PIL.Image.open(out / 'long.png') as image:
        assert image.size == (200, 65_600)
    with PIL.Image.open(out / 'strip.jpg') as image:
        assert image.size == (20, 5000)
    with PIL.Image.open(out / 'turned.jpg') as image:
        assert image.size == (480, 720)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ['detections.json', 'long.png', 'strip.jpg', 'turned.jpg', f'{name}.jpg']
    )


@pytest.mark.parametrize(
    ('error', 'sentence'),
    [
        (
            RuntimeError('CUDA out of memory. Tried to allocate 9 GiB'),
            'out of memory for this image',
        ),
        (MemoryError(), 'out of memory for this image'),
        (OSError(28, 'No space left on device'), 'No space left'),
        (KeyError('x'), "KeyError('x')"),
    ],
)
def test_an_error_of_one_image_does_not_stop_the_others(
    thin, tmp_path, monkeypatch, error, sentence
):
    draw = visualize.draw
    errors = [error]

    def fail_at_the_first(image, detections):
        if errors:
            raise errors.pop()
        return draw(image, detections)

    monkeypatch.setattr(visualize, 'draw', fail_at_the_first)
    detector = Detector.from_checkpoint(*CONFIG[:2], device='cpu')
    paths = [pathlib.Path(p) for p in IMAGES]
    [fault] = detect.detect_all(detector, paths, tmp_path, 0.0, 5, False)
    assert IMAGES[0] in fault and sentence in fault
    results = json.loads((tmp_path / 'detections.json').read_text())
    assert {r['file_name'] for r in results} == set(IMAGES)


def test_an_output_that_is_a_file(thin, tmp_path):
    (tmp_path / 'out').touch()
    with pytest.raises((SystemExit, ValueError), match='--output: .*out is not a folder'):
        main(['none.py', 'none.pth', IMAGES[0], '--output', str(tmp_path / 'out')])


def test_no_image(thin, tmp_path):
    assert main(['none.py', 'none.pth', 'gone.jpg', '--output', str(tmp_path / 'out')]) == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'args, message',
    [
        pytest.param(['none.py', 'x.pth', *IMAGES], 'none.py', id='no config'),
        pytest.param(['oadp_ov_coco.py', 'x.pth', *IMAGES], 'x.pth', id='no checkpoint'),
        pytest.param([*CONFIG, *IMAGES, '--vocabulary', ' , '], 'at least one', id='no names'),
        pytest.param([*CONFIG, *IMAGES, '--vocabulary', 'x' * 999], '999', id='over-long'),
        pytest.param([*CONFIG, *IMAGES, '--vocabulary-file', 'w.txt'], 'w.txt', id='no file'),
        pytest.param(
            [*CONFIG, *IMAGES, '--override', '.modell:1'], 'modell', id='unknown override'
        ),
    ],
)
def test_refuses(thin, tmp_path, args, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        main([*args, '--output', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


def test_output_folder_of_the_images_is_refused(thin, tmp_path):
    photo = tmp_path / 'photo.jpg'
    PIL.Image.new('RGB', (40, 30)).save(photo)
    before = photo.read_bytes()
    with pytest.raises(ValueError, match='--output'):
        main([*CONFIG, str(photo), '--output', str(tmp_path)])
    assert photo.read_bytes() == before


def test_dry_run_has_its_own_folder(thin, tmp_path, monkeypatch):
    images = [str(thin / p) for p in sorted(pathlib.Path(FOLDER).iterdir())]
    for name in ('oadp_ov_coco.py', 'oadp_ov_coco.pth', 'data', 'pretrained'):
        (tmp_path / name).symlink_to(thin / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DRY_RUN', 'True')
    assert main([*CONFIG, *images, '--output', 'out']) == 0
    assert not pathlib.Path('out').exists()
    assert len(list(pathlib.Path('work_dirs/dry_run/detect').iterdir())) == 3


@pytest.mark.parametrize(
    'paths, ids',
    [
        pytest.param(['a/000000000139.jpg', '7.png'], [139, 7], id="COCO's"),
        pytest.param(['1.jpg', 'b.jpg'], [0, 1], id='one is no number'),
        pytest.param(['a/1.jpg', 'b/01.jpg'], [0, 1], id='twice the same number'),
    ],
)
def test_image_ids(paths, ids):
    assert image_ids([pathlib.Path(p) for p in paths]) == ids
