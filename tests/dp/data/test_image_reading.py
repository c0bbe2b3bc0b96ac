import pathlib

import mmcv
import numpy as np
import pytest
from image_files import READABLE, UNREADABLE
from mmdet.datasets.pipelines import Compose, LoadImageFromFile

from oadp.dp.data.image_reading import with_own_reader


def _read(path: pathlib.Path, size_wh: tuple[int, int] | None = None, **options) -> np.ndarray:
    info = dict(filename=path.name)
    if size_wh:
        info.update(width=size_wh[0], height=size_wh[1])
    [step] = with_own_reader([dict(type='LoadImageFromFile', **options)])
    results = Compose([step])(dict(img_prefix=str(path.parent), img_info=info))
    assert results['filename'] == str(path) and results['ori_filename'] == path.name
    assert results['ori_shape'] == results['img_shape'] == results['img'].shape
    return results['img']


@pytest.mark.parametrize('kind', READABLE)
@pytest.mark.parametrize('backend', ['disk', 'http'])
def test_images_are_read_as_in_other_commands(tmp_path, kind, backend, monkeypatch):
    monkeypatch.setattr(mmcv.FileClient, 'get', lambda self, path: pathlib.Path(path).read_bytes())
    write, pixels = READABLE[kind]
    path = write(tmp_path)
    image = _read(path, pixels.shape[1::-1], file_client_args=dict(backend=backend))
    assert np.array_equal(image[..., ::-1], pixels)


def test_options_of_mmdet(tmp_path):
    path = READABLE['PNG'][0](tmp_path)
    plain = dict(img_prefix=str(tmp_path), img_info=dict(filename=path.name))
    for options in ({}, dict(to_float32=True), dict(channel_order='rgb')):
        theirs = Compose([dict(type='LoadImageFromFile', **options)])(dict(plain))
        image = _read(path, **options)
        assert image.dtype == theirs['img'].dtype and np.array_equal(image, theirs['img'])
    with pytest.raises(ValueError, match="color_type is 'unchanged'; expected 'color'"):
        _read(path, color_type='unchanged')


@pytest.mark.parametrize('kind', UNREADABLE)
def test_unreadable_images_give_the_same_error_as_in_other_commands(tmp_path, kind):
    write, message = UNREADABLE[kind]
    with pytest.raises(ValueError, match=message):
        _read(write(tmp_path))


def test_an_image_of_another_size_than_its_annotation(tmp_path):
    with pytest.raises(ValueError, match='a.png: the image has 64 × 48 .* annotation says 64 × 40'):
        _read(READABLE['PNG'][0](tmp_path), (64, 40))


def test_other_steps_do_not_change():
    steps = [dict(type=LoadImageFromFile, to_float32=True), dict(type='RandomFlip', flip_ratio=0.5)]
    assert with_own_reader(steps) == [dict(type='ReadImage', to_float32=True), steps[1]]
    assert steps[0]['type'] is LoadImageFromFile
