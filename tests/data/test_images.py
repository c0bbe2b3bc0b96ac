"""Pictures are found where people point, and read as in training; what is none is told apart."""

import cv2
import numpy as np
import PIL.Image
import pytest

from oadp.data.images import find_images, read_image, to_array

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in/deep').mkdir(parents=True)
    for name in ('in/b.PNG', 'in/a.jpg', 'in/deep/c.webp', 'in/notes.txt', 'in/x[1].png', 'odd'):
        (tmp_path / name).touch()
    (tmp_path / 'empty').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    'patterns, found, faults',
    [
        pytest.param(['in'], ['in/a.jpg', 'in/b.PNG', 'in/x[1].png'], [], id='folder'),
        pytest.param(['in/*.jpg'], ['in/a.jpg'], [], id='pattern'),
        pytest.param(
            ['in/**'],
            ['in/a.jpg', 'in/b.PNG', 'in/deep/c.webp', 'in/x[1].png'],
            [],
            id='folders within',
        ),
        pytest.param(['in/x[1].png'], ['in/x[1].png'], [], id='a file called like a pattern'),
        pytest.param(['odd', 'in/a.jpg'], ['odd', 'in/a.jpg'], [], id='named files, in order'),
        pytest.param(
            ['in/b.PNG', 'in'], ['in/b.PNG', 'in/a.jpg', 'in/x[1].png'], [], id='each once'
        ),
        pytest.param(['in/*.gif'], [], ['in/*.gif: no picture'], id='nothing matches'),
        pytest.param(['empty'], [], ['empty: no picture'], id='empty folder'),
        pytest.param(['gone.jpg', 'odd'], ['odd'], ['gone.jpg: no such file'], id='missing file'),
    ],
)
def test_find_images(folder, patterns, found, faults):
    paths, sentences = find_images(patterns)
    assert [path.as_posix() for path in paths] == found
    assert sentences == faults


def test_read_image_is_opencv_in_rgb(golden):
    [path, *_] = sorted((golden / 'world/data/coco/val2017').glob('*.jpg'))
    assert np.array_equal(read_image(path)[..., ::-1], cv2.imread(str(path)))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA', 'P', 'CMYK'])
def test_read_image_of_any_mode(tmp_path, mode):
    path = tmp_path / ('a.jpg' if mode == 'CMYK' else 'a.png')
    PIL.Image.fromarray(PIXELS).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8
    if mode == 'RGB':
        assert np.array_equal(image, PIXELS)


def test_exif_turns_the_picture(tmp_path):
    exif = PIL.Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    PIL.Image.fromarray(PIXELS).save(tmp_path / 'a.jpg', exif=exif)
    assert read_image(tmp_path / 'a.jpg').shape == (30, 20, 3)
    assert to_array(PIL.Image.open(tmp_path / 'a.jpg')).shape == (30, 20, 3)


def test_read_image_refuses(tmp_path):
    path = tmp_path / 'a.jpg'
    with pytest.raises(FileNotFoundError, match='a.jpg'):
        read_image(path)
    path.write_text('no picture')
    with pytest.raises(ValueError, match='a.jpg: not a readable picture'):
        read_image(path)
    PIL.Image.fromarray(PIXELS).resize((300, 200)).save(path)
    with pytest.raises(ValueError, match='300 × 200, more than 59999 pixels'):
        read_image(path, max_pixels=59999)
    assert read_image(path, max_pixels=60000).shape == (200, 300, 3)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match='a.jpg.*truncated'):
        read_image(path)


@pytest.mark.parametrize(
    'image, error',
    [
        pytest.param(PIXELS[..., 0], ValueError, id='grey'),
        pytest.param(PIXELS / 255, ValueError, id='floats'),
        pytest.param(PIXELS[:0], ValueError, id='empty'),
        pytest.param(PIXELS.tolist(), TypeError, id='list'),
    ],
)
def test_to_array_refuses(image, error):
    with pytest.raises(error, match='expected'):
        to_array(image)


def test_to_array():
    assert np.array_equal(to_array(PIL.Image.fromarray(PIXELS)), PIXELS)
    assert to_array(PIXELS) is PIXELS
