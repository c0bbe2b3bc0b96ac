"""Lists of images, and errors for wrong ones."""

import json

import pytest

from oadp.oake import image_list as images


@pytest.fixture
def write(tmp_path):
    def run(content, name='annotations.json'):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return run


def test_coco(write, tmp_path):
    file = write(dict(images=[dict(id=9, file_name='a.jpg', width=4, height=3), dict(id=2, file_name='b.jpg')]))  # fmt: skip
    first, second = images.load_images(file, tmp_path)
    assert first == images.ImageInfo(9, tmp_path / 'a.jpg', (4, 3))
    assert second == images.ImageInfo(2, tmp_path / 'b.jpg', None)


def test_lvis_file_names_come_from_coco_url(write, tmp_path):
    url = 'http://images.cocodataset.org/train2017/000000391895.jpg'
    file = write(dict(images=[dict(id=391895, coco_url=url, width=4, height=3)]))
    (image,) = images.load_images(file, tmp_path, 'LVIS')
    assert image.file == tmp_path / 'train2017/000000391895.jpg'


def test_images_are_a_sequence(write, tmp_path):
    file = write(dict(images=[dict(id=i, file_name=f'{i}.jpg') for i in range(10)]))
    listed = images.load_images(file, tmp_path)
    assert len(listed) == 10 and listed[-1] == images.ImageInfo(9, tmp_path / '9.jpg', None)
    assert listed[2::3] == [listed[2], listed[5], listed[8]] and list(listed) == listed[:]
    with pytest.raises(IndexError):
        listed[10]


def test_annotations_are_not_read_again(write, tmp_path, monkeypatch):
    """All processes but the first, and each later start, read the converted file."""
    file = write(dict(images=[dict(id=1, file_name='a.jpg')]))
    expected = list(images.load_images(file, tmp_path))
    monkeypatch.setattr('oadp.data.annotations.file.AnnotationFile.check', None)
    assert list(images.load_images(file, tmp_path)) == expected


def test_annotations_after_the_images_are_checked(write, tmp_path):
    image = '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{'
    with pytest.raises(ValueError, match='annotations.json: cut off'):
        images.load_images(write(image), tmp_path)
    with pytest.raises(ValueError, match='annotations.json: .*whose image_id is not among'):
        images.load_images(write(image + '"id": 1, "image_id": 2, "category_id": 1}]}'), tmp_path)


@pytest.mark.parametrize(
    ('content', 'dataset_type', 'message'),
    [
        ({'images': [dict(id=1, file_name='a')]}, 'VOC', "'VOC'; choose from"),
        ({'annotations': []}, 'COCO', 'lists missing: 1 .*"images"'),
        ({'images': []}, 'COCO', 'empty lists: 1 .*"images"'),
        ({'images': [dict(file_name='a')]}, 'COCO', r'images without id: 1 \(images\[0\]\)'),
        ({'images': [dict(id=1, file_name='a')]}, 'LVIS', 'coco_url'),
        (
            {'images': [dict(id=1, file_name='a'), dict(id=1, file_name='b')]},
            'COCO',
            'id 1: 2 times',
        ),
        ('not JSON', 'COCO', 'annotations.json: not JSON'),
    ],
)
def test_bad_annotations(write, tmp_path, content, dataset_type, message):
    with pytest.raises(ValueError, match=message):
        images.load_images(write(content), tmp_path, dataset_type)


def test_errors_for_missing_files_name_the_readme(write, tmp_path):
    with pytest.raises(FileNotFoundError, match='README'):
        images.load_images(tmp_path / 'none.json', tmp_path)
    with pytest.raises(FileNotFoundError, match='README'):
        images.load_images(write({'images': []}), tmp_path / 'none')
