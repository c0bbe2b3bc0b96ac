"""Errors for wrong annotation files name the file, each fault and the ids; no other error is raised."""

import numpy as np
import pytest
from annotation_examples import (
    ALL_NEEDS,
    ANNOTATION,
    CASES,
    CATEGORIES,
    FILES,
    TEXT,
    changed,
    example,
    mutated_files,
    read_whole,
    write,
)
from hypothesis import HealthCheck, given, settings

from oadp.data.annotations import checks
from oadp.data.annotations.build import build
from oadp.data.annotations.file import AnnotationFile
from oadp.data.annotations.table import open_annotations


def test_a_valid_file(tmp_path):
    data = example()
    table = open_annotations(write(tmp_path / 'x.json', data), ALL_NEEDS, CATEGORIES)
    columns = table.columns
    assert [table.annotation(row) for row in range(3)] == data['annotations']
    assert [table.image(row) for row in range(2)] == data['images']
    assert columns.ids.tolist() == [0, 1, 2] and columns.image_ids.tolist() == [10] * 3
    assert columns.boxes.tolist() == [[1.5, 2, 3, 4]] * 3 and not columns.crowd.any()


def test_missing_optional_values_are_filled_in_and_counted(tmp_path, log):
    data = example()
    for annotation in data['annotations']:
        del annotation['iscrowd'], annotation['area']
    for image in data['images']:
        del image['neg_category_ids'], image['not_exhaustive_category_ids']
    for category in data['categories']:
        del category['frequency']
    data['annotations'][1]['bbox'] = [1, 2, 0, 4]
    data['images'][1]['height'] = 31
    table = open_annotations(write(tmp_path / 'x.json', data), ('box', 'size'))
    got = [table.annotation(row) for row in range(3)]
    assert [a['area'] for a in got] == table.columns.areas.tolist() == [12, 0, 12]
    assert [a['iscrowd'] for a in got] == [0, 0, 0]
    (record,) = log.records
    for text in ('x.json: tolerated', 'without iscrowd: 3 (taken as 0)', 'without area: 3 ',
                 'without width or height: 1 ', 'lower than 32 pixels: 1 '):  # fmt: skip
        assert text in record.getMessage()


@pytest.mark.parametrize(('path', 'value', 'message'), CASES)
def test_faults(tmp_path, path, value, message):
    """Whether the file is decoded as a whole or in parts."""
    file = write(tmp_path / 'x.json', changed(path, value))
    with pytest.raises(ValueError, match='x.json: (.|\n)*' + message):
        read_whole(file, ALL_NEEDS, CATEGORIES)
    with pytest.raises(ValueError, match='x.json: (.|\n)*' + message):
        AnnotationFile.read(file, ALL_NEEDS, CATEGORIES)


def test_all_faults_are_listed_at_once(tmp_path):
    data = changed(('images', 1, 'width'), -1)
    data['annotations'] = [{**data['annotations'][0], 'image_id': 7} for _ in range(9)]
    with pytest.raises(ValueError) as e:
        read_whole(write(tmp_path / 'x.json', data), ('size',))
    lines = str(e.value).splitlines()
    assert len(lines) == 3 and all('x.json: ' in line for line in lines)
    assert any('not among the images: 9 (id 0: 7, ' in line and '…)' in line for line in lines)


@pytest.mark.parametrize('size', [[64, 48], [10**30, 0]])
def test_masks_are_compared_with_images_that_are_listed_later(tmp_path, monkeypatch, size):
    monkeypatch.setattr(checks, '_AT_ONCE', 1)  # as in a file of many annotations
    data = changed((*ANNOTATION, 'segmentation'), dict(size=size, counts=[size[0] * size[1]]))
    data = dict(sorted(data.items()))
    assert list(data)[0] == 'annotations'
    for read in (read_whole, AnnotationFile.read):
        with pytest.raises(ValueError, match=r'size of the annotation.s image: 1 \(id 1\)'):
            read(write(tmp_path / 'x.json', data), ALL_NEEDS)


def test_polygons_of_too_few_points_are_removed(tmp_path, log):
    data = changed((*ANNOTATION, 'segmentation'), [[1, 2, 3, 4], [0, 0, 4, 0, 4, 4]])
    got, _ = read_whole(write(tmp_path / 'x.json', data), ALL_NEEDS)
    assert got['annotations'][1]['segmentation'] == [[0, 0, 4, 0, 4, 4]]
    assert 'fewer than three points: 1' in log.text


@pytest.mark.parametrize(('content', 'message'), FILES)
def test_broken_files(tmp_path, content, message):
    file = write(tmp_path / 'x.json', content)
    for read in (read_whole, AnnotationFile.read):
        with pytest.raises(ValueError, match=f'x.json: .*{message}|{message}') as e:
            read(file, ALL_NEEDS)
        assert type(e.value) is ValueError and 'x.json' in str(e.value)


def test_byte_order_mark_is_ignored(tmp_path):
    file = write(tmp_path / 'x.json', b'\xef\xbb\xbf' + TEXT)
    assert read_whole(file, ALL_NEEDS)[0] == example()
    assert AnnotationFile.read(file, ALL_NEEDS).images == example()['images']


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=mutated_files())
def test_any_file_is_read_or_an_error_with_the_file(tmp_path, content):
    """A valid file can be split and used: its ids are distinct, and its references exist."""
    file = write(tmp_path / 'x.json', content)
    outcomes = []
    for read in (
        lambda: read_whole(file, ALL_NEEDS, CATEGORIES),
        lambda: AnnotationFile.read(file, ALL_NEEDS, CATEGORIES),
        lambda: build(file, CATEGORIES, tmp_path / 'out'),
    ):
        try:
            outcomes.append(read())
        except ValueError as e:
            assert type(e) is ValueError and 'x.json' in str(e)
            outcomes.append(None)
    if outcomes[0] is not None:
        data, columns = outcomes[0]
        assert len({a['id'] for a in data['annotations']}) == len(columns.ids)
        assert {a['image_id'] for a in data['annotations']} <= {i['id'] for i in data['images']}
        assert np.isfinite(columns.boxes).all() and np.isfinite(columns.areas).all()
        assert outcomes[1] is not None and outcomes[2] is not None
