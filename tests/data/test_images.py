"""Patterns find images, and every kind of file gives its pixels or one error."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from image_files import NEARLY, READABLE, RGB, UNREADABLE, png_header

from oadp.data.images import decode_image, find_images, read_image, read_pil_image, to_array


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
        pytest.param(['in/*.gif'], [], ['in/*.gif: no image'], id='nothing matches'),
        pytest.param(['empty'], [], ['empty: no image'], id='empty folder'),
        pytest.param(['gone.jpg', 'odd'], ['odd'], ['gone.jpg: no such file'], id='missing file'),
    ],
)
def test_find_images(folder, patterns, found, faults):
    paths, sentences = find_images(patterns)
    assert [path.as_posix() for path in paths] == found
    assert sentences == faults


@pytest.mark.parametrize('kind', READABLE)
def test_readable(tmp_path, kind):
    write, pixels = READABLE[kind]
    path = write(tmp_path)
    image = read_image(path)
    assert image.dtype == np.uint8 and np.array_equal(image, pixels)
    assert np.array_equal(np.asarray(read_pil_image(path)), pixels)
    assert np.array_equal(decode_image(path.read_bytes(), 'a'), pixels)
    with PIL.Image.open(path) as opened:
        assert np.array_equal(to_array(opened), pixels)
    size_wh = pixels.shape[1::-1]
    assert read_image(path, size_wh).shape == pixels.shape


@pytest.mark.parametrize('kind', NEARLY)
def test_similar_pixels(tmp_path, kind):
    write, pixels = NEARLY[kind]
    difference = read_image(write(tmp_path)).astype(int) - pixels
    assert np.abs(difference).mean() < 1


@pytest.mark.parametrize('kind', UNREADABLE)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_unreadable(tmp_path, kind):
    write, message = UNREADABLE[kind]
    path = write(tmp_path)
    with pytest.raises(ValueError, match=message) as e:
        read_image(path)
    assert '\n' not in str(e.value)
    if path.is_file():
        with pytest.raises(ValueError, match=message):
            decode_image(path.read_bytes(), str(path))


@pytest.mark.parametrize('path', ['none.jpg', 'file/none.jpg'])
def test_missing_file(tmp_path, path):
    (tmp_path / 'file').touch()
    with pytest.raises(FileNotFoundError, match='none.jpg: no such image'):
        read_image(tmp_path / path)


@pytest.mark.parametrize(
    'options', [{}, {'subsampling': 0}, {'progressive': True}, {'quality': 30}]
)
@pytest.mark.parametrize('size', [(64, 48), (33, 17), (1, 50)])
def test_jpeg_pixels_equal_opencv(options, size):
    """mmdet loads images with OpenCV; the recorded features were made with Pillow."""
    data = io.BytesIO()
    PIL.Image.fromarray(RGB).resize(size).save(data, 'JPEG', **options)
    encoded = np.frombuffer(data.getvalue(), np.uint8)
    image = decode_image(data.getvalue(), 'a.jpg')
    assert np.array_equal(image[..., ::-1], cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def test_pixels_of_recorded_images_equal_opencv(golden):
    for path in (golden / 'world/data/coco').glob('*2017/*.jpg'):
        assert np.array_equal(read_image(path)[..., ::-1], cv2.imread(str(path)))


@pytest.mark.parametrize(
    ('size_wh', 'message'),
    [
        ((64, 49), 'a.png: the image has 64 × 48 pixels, and its annotation says 64 × 49'),
        ((48, 64), 'a.png: the image has 64 × 48'),
        ((-1, -1), 'a.png: the image has 64 × 48'),
        ((300_000, 300_000), 'a.png: the image has 64 × 48'),
    ],
)
def test_sizes_that_differ_from_the_annotation(tmp_path, size_wh, message):
    path = READABLE['PNG'][0](tmp_path)
    with pytest.raises(ValueError, match=message):
        read_image(path, size_wh)


def test_size_is_compared_after_the_exif_orientation(tmp_path):
    path = READABLE['turned PNG'][0](tmp_path)
    assert read_image(path, (48, 64)).shape == (64, 48, 3)
    with pytest.raises(ValueError, match='image, turned as its EXIF data say, has 48 × 64'):
        read_image(path, (64, 48))


def test_size_is_compared_before_decoding(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(png_header(9000, 9000))  # which would be "truncated"
    with pytest.raises(ValueError, match='annotation says 640 × 480'):
        read_image(path, (640, 480))


def test_max_pixels(tmp_path):
    path = READABLE['PNG'][0](tmp_path)
    with pytest.raises(ValueError, match='64 × 48 pixels, more than the 3071 of'):
        read_image(path, max_pixels=3071)
    assert read_image(path, max_pixels=3072).shape == (48, 64, 3)


@pytest.mark.parametrize(
    'image, error',
    [
        pytest.param(RGB[..., 0], ValueError, id='grey'),
        pytest.param(RGB / 255, ValueError, id='floats'),
        pytest.param(RGB[:0], ValueError, id='empty'),
        pytest.param(RGB.tolist(), TypeError, id='list'),
    ],
)
def test_to_array_errors(image, error):
    with pytest.raises(error, match='expected'):
        to_array(image)


def test_to_array():
    assert np.array_equal(to_array(PIL.Image.fromarray(RGB)), RGB)
    assert to_array(RGB) is RGB
