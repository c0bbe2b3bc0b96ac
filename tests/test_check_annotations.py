"""The report of the command."""

import json
import pathlib

import pytest
from PIL import Image

from oadp.check_annotations import main


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two images of 64 × 48, one of them stored upright with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.jpg')
    Image.new('RGB', (48, 64)).save(tmp_path / 'b.jpg', exif=exif)
    data = dict(
        images=[dict(id=i, file_name=f'{n}.jpg', width=64, height=48) for i, n in enumerate('ab')],
        annotations=[dict(id=1, image_id=0, category_id=1, bbox=[0, 0, 4, 4], iscrowd=0)],
        categories=[dict(id=1, name='cat')],
    )
    path = tmp_path / 'x.json'
    path.write_text(json.dumps(data))
    return path


def test_good_file(file, capsys):
    assert main([str(file), '--images', str(file.parent)]) == 0
    out = capsys.readouterr().out
    assert 'annotations without area' in out and 'tolerated' in out
    assert 'x.json: 2 images, 1 annotations, 1 categories; 0 kinds of errors' in out


def test_images_are_compared_with_the_files(file, capsys):
    Image.new('RGB', (64, 50)).save(file.parent / 'a.jpg')
    (file.parent / 'b.jpg').unlink()
    assert main([str(file), '--images', str(file.parent)]) == 1
    out = capsys.readouterr().out
    assert 'a.jpg: 64 × 48, is 64 × 50' in out and 'images that are not in' in out
    (file.parent / 'b.jpg').write_text('not an image')
    assert main([str(file), '--images', str(file.parent)]) == 1
    assert 'no readable images' in capsys.readouterr().out


def test_masks_and_categories_on_demand(file, capsys):
    categories = file.with_name('categories.json')
    categories.write_text(json.dumps(dict(bases=['cat'], novels=['owl'])))
    assert main([str(file), '--categories', str(categories), '--masks']) == 1
    out = capsys.readouterr().out
    assert "'owl'" in out and 'annotations without segmentation' in out


@pytest.mark.parametrize('name', ['none.json', 'cut.json'])
def test_unreadable_files(file, name):
    file.with_name('cut.json').write_text(file.read_text()[:50])
    with pytest.raises((OSError, ValueError), match=name):
        main([str(file.with_name(name))])
