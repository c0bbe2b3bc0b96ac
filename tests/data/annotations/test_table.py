"""A table has the content of the decoded file, and raises the errors of its check."""

import json
import multiprocessing
import pathlib
import pickle

import numpy as np
import pytest
from annotation_examples import (
    ALL_NEEDS,
    ANNOTATION,
    CASES,
    CATEGORIES,
    FILES,
    changed,
    example,
    mutated_files,
    read_whole,
    write,
)
from hypothesis import HealthCheck, given, settings

from oadp.categories import Categories
from oadp.data.annotations.table import AnnotationTable, DecodedRecords, open_annotations
from oadp.data.converted.cache import FOLDER


def plain(content: dict) -> dict:
    return {k: list(v) if isinstance(v, DecodedRecords) else v for k, v in content.items()}


def assert_equal(table: AnnotationTable, path: pathlib.Path, needs, categories=None) -> None:
    data, columns = read_whole(path, needs, categories)
    assert json.dumps(plain(table.content())) == json.dumps(data)
    for name, column in vars(columns).items():
        np.testing.assert_array_equal(getattr(table.columns, name), column)
    for image in data['images']:
        rows = table.rows_of_image(image['id'])
        own = [i for i, a in enumerate(data['annotations']) if a['image_id'] == image['id']]
        assert rows.tolist() == own
    for row, annotation in enumerate(data['annotations']):
        assert table.annotation_row(annotation['id']) == row
    for row, image in enumerate(data['images']):
        assert table.image_row(image['id']) == row
        assert table.sizes_wh[row].tolist() == [image.get('width', -1), image.get('height', -1)]


@pytest.mark.parametrize('again', [False, True])
@pytest.mark.parametrize('indent', [None, 2])
def test_a_file_in_any_order(tmp_path, again, indent):
    data = example()
    data['annotations'][1]['image_id'] = 20
    data['annotations'].append({**data['annotations'][0], 'id': 7, 'image_id': 20, 'note': 'é'})
    data = dict(info=dict(year=2017), licenses=[dict(id=1)], empty=[], **dict(sorted(data.items())))
    file = tmp_path / 'x.json'
    file.write_text(json.dumps(data, indent=indent, ensure_ascii=False))
    for _ in range(1 + again):
        table = open_annotations(file, ALL_NEEDS, CATEGORIES)
    assert_equal(table, file, ALL_NEEDS, CATEGORIES)
    assert table.has_categories([3]).tolist() == [True, True]
    assert table.has_categories([5]).tolist() == [False, False]


def test_recorded_files(golden, golden_workdir):
    for file in sorted((golden_workdir / 'data').rglob('annotations/*.json')):
        needs = {'annotations', 'box', 'size'} | (
            {'mask', 'lvis'} if 'lvis' in str(file) else set()
        )
        assert_equal(open_annotations(file, needs), file, needs)


def test_missing_values_are_completed(tmp_path):
    data = example()
    for annotation in data['annotations']:
        del annotation['iscrowd'], annotation['area']
    data['annotations'][1]['segmentation'] = [[1, 2, 3, 4], [0, 0, 4, 0, 4, 4]]
    file = write(tmp_path / 'x.json', data)
    table = open_annotations(file, ALL_NEEDS)
    assert table.annotation(1)['area'] == 12 and table.annotation(1)['iscrowd'] == 0
    assert_equal(table, file, ALL_NEEDS)
    assert_equal(open_annotations(file, ('box',)), file, ('box',))


@pytest.mark.parametrize('again', [False, True])
def test_tolerated_values_are_logged_at_each_start(tmp_path, log, again):
    file = write(tmp_path / 'x.json', changed((*ANNOTATION, 'area'), ...))
    for _ in range(1 + again):
        log.clear()
        open_annotations(file, ALL_NEEDS)
    read_whole(file, ALL_NEEDS)
    assert len({r.getMessage() for r in log.records if ': tolerated:' in r.getMessage()}) == 1
    assert 'x.json: tolerated: annotations without area: 1 (taken as' in log.text


@pytest.mark.parametrize(('path', 'value', 'message'), CASES)
def test_faults(tmp_path, path, value, message):
    file = write(tmp_path / 'x.json', changed(path, value))
    with pytest.raises(ValueError, match='x.json: (.|\n)*' + message):
        open_annotations(file, ALL_NEEDS, CATEGORIES)
    assert not list((tmp_path / FOLDER).glob('*.npz'))


@pytest.mark.parametrize(('content', 'message'), FILES)
def test_broken_files(tmp_path, content, message):
    file = write(tmp_path / 'x.json', content)
    with pytest.raises(ValueError, match=f'x.json: .*{message}|{message}') as e:
        open_annotations(file, ALL_NEEDS)
    assert type(e.value) is ValueError and 'x.json' in str(e.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.json: no such annotation file'):
        open_annotations(tmp_path / 'none.json')


def test_needs_are_checked_although_the_file_was_converted_for_others(tmp_path):
    file = write(tmp_path / 'x.json', changed((*ANNOTATION, 'segmentation'), []))
    open_annotations(file, ('box',))
    with pytest.raises(ValueError, match='annotations without segmentation: 1'):
        open_annotations(file, ('box', 'mask'))


def test_categories_are_checked_at_each_start(tmp_path):
    file = write(tmp_path / 'x.json', example())
    open_annotations(file, (), CATEGORIES)
    with pytest.raises(ValueError) as e:
        open_annotations(file, (), Categories(bases=('cat', 'yak'), novels=()))
    with pytest.raises(ValueError) as expected:
        read_whole(file, (), Categories(bases=('cat', 'yak'), novels=()))
    assert str(e.value) == str(expected.value) and 'yak' in str(e.value)


def test_an_edited_file_is_read_again(tmp_path):
    file = write(tmp_path / 'x.json', example())
    open_annotations(file)
    write(file, changed((*ANNOTATION, 'bbox'), [9, 9, 9, 9]))
    assert open_annotations(file).annotation(1)['bbox'] == [9, 9, 9, 9]


def test_only_the_path_is_pickled(tmp_path):
    data = example()
    data['annotations'] = [{**data['annotations'][0], 'id': i} for i in range(1000)]
    file = write(tmp_path / 'x.json', data)
    table = open_annotations(file, ALL_NEEDS)
    content = pickle.dumps(table)
    assert len(content) < 500
    assert_equal(pickle.loads(content), file, ALL_NEEDS)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=mutated_files())
def test_any_file_is_read_as_before_or_an_error_with_the_file(tmp_path, content):
    file = write(tmp_path / 'x.json', content)
    try:
        read_whole(file, ALL_NEEDS, CATEGORIES)
    except ValueError:
        with pytest.raises(ValueError, match='x.json'):
            open_annotations(file, ALL_NEEDS, CATEGORIES)
        return
    assert_equal(open_annotations(file, ALL_NEEDS, CATEGORIES), file, ALL_NEEDS, CATEGORIES)


def records(count: int = 4) -> DecodedRecords:
    return DecodedRecords(lambda row: dict(row=row), 10 * np.arange(count))


def test_decoded_records_are_a_sequence():
    got = records()
    assert len(got) == 4 and got[-1] == dict(row=30) and got[1:3] == [dict(row=10), dict(row=20)]
    assert [r['row'] for r in got] == [0, 10, 20, 30]
    assert sum([got, got], []) == [*got, *got] and got + [1] == [*got, 1]
    with pytest.raises(IndexError):
        got[4]


def test_assigned_records_are_kept():
    got = records()
    got[2] = dict(row=-1)
    got[1]['row'] = 5  # of a decoded copy
    assert [r['row'] for r in got] == [0, 10, -1, 30]
    chosen = got.select([2, 3])
    assert [r['row'] for r in chosen] == [-1, 30]
    assert [r['row'] for r in chosen.select(range(1))] == [-1]


def private_memory() -> float:
    """Return what this process does not share with others, in MB."""
    lines = pathlib.Path('/proc/self/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith('Private_')) / 1000


def _touch(table: AnnotationTable, results) -> None:
    table.annotation(0)
    before = private_memory()
    for image_id in table.image_ids.tolist():
        for row in table.rows_of_image(image_id).tolist():
            table.annotation(row)
    results.put(private_memory() - before)


@pytest.mark.skipif(not pathlib.Path('/proc/self/smaps_rollup').exists(), reason='needs Linux')
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_memory_of_workers_does_not_grow(tmp_path, method):
    """Decoded, these annotations take 30 MB."""
    data = example()
    polygon = [[0.5 * (i % 90) for i in range(80)]]
    data['annotations'] = [
        {**data['annotations'][0], 'id': i, 'image_id': 10 + 10 * (i % 2), 'segmentation': polygon}
        for i in range(10_000)
    ]
    table = open_annotations(write(tmp_path / 'x.json', data), ALL_NEEDS)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    worker = context.Process(target=_touch, args=(table, results))
    worker.start()
    grown = results.get(timeout=300)
    worker.join()
    assert grown < 3
