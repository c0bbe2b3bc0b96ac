"""The images of a file have the ids, sizes and names of its records, and the whole file is checked."""

import json
import multiprocessing
import pickle

import pytest
from annotation_examples import ANNOTATION, CASES, FILES, changed, example, write

from oadp.data.annotations.image_table import ImageTable, open_images
from oadp.data.converted.cache import FOLDER

NEEDS = ('coco_url', 'size', 'box', 'mask', 'lvis')


def content(table: ImageTable) -> list[tuple]:
    return [(int(table.ids[i]), table.name(i), table.size_wh(i)) for i in range(len(table))]


@pytest.mark.parametrize('again', [False, True])
@pytest.mark.parametrize(
    ('name_key', 'names'),
    [
        ('file_name', ['é/10.jpg', '20.jpg']),
        ('coco_url', ['val2017/10.jpg', 'val2017/20.jpg']),
        ('any_name', ['é/10.jpg', '20.jpg']),
    ],
)
def test_images(tmp_path, again, name_key, names):
    data = example()
    data['images'][0]['file_name'] = names[0]
    del data['images'][1]['width'], data['images'][1]['height']
    file = write(tmp_path / 'x.json', data)
    for _ in range(1 + again):
        table = open_images(file, name_key)
    assert content(table) == [(10, names[0], (64, 48)), (20, names[1], None)]


def test_only_images_are_required_and_kept(tmp_path):
    data = example()
    data['annotations'] = [{**data['annotations'][0], 'id': i} for i in range(1000)]
    file = write(tmp_path / 'x.json', data)
    table = open_images(file, 'file_name')
    (converted,) = (tmp_path / FOLDER).glob('*.npz')
    assert file.stat().st_size > 100_000 and converted.stat().st_size < 4000
    write(file, dict(images=data['images']))
    assert content(open_images(file, 'file_name')) == content(table)


@pytest.mark.parametrize(('path', 'value', 'message'), CASES)
def test_faults(tmp_path, path, value, message):
    if path == ('categories',) or 'set that the file lacks' in message or "('owl'" in message:
        pytest.skip('neither the list of categories nor a set of them is required')
    file = write(tmp_path / 'x.json', changed(path, value))
    with pytest.raises(ValueError, match='x.json: (.|\n)*' + message):
        open_images(file, 'file_name', NEEDS)
    assert not list((tmp_path / FOLDER).glob('*.npz'))


@pytest.mark.parametrize(('text', 'message'), FILES)
def test_broken_files(tmp_path, text, message):
    file = write(tmp_path / 'x.json', text)
    with pytest.raises(ValueError, match=f'x.json: .*{message}|{message}') as e:
        open_images(file, 'file_name')
    assert 'x.json' in str(e.value)


def test_needs_are_checked_although_the_file_was_converted_for_others(tmp_path):
    file = write(tmp_path / 'x.json', changed(('images', 1, 'coco_url'), ...))
    open_images(file, 'file_name')
    with pytest.raises(ValueError, match='images without coco_url: 1'):
        open_images(file, 'coco_url')


@pytest.mark.parametrize('again', [False, True])
def test_tolerated_values_are_logged_at_each_start(tmp_path, log, again):
    file = write(tmp_path / 'x.json', changed((*ANNOTATION, 'area'), ...))
    for _ in range(1 + again):
        log.clear()
        open_images(file, 'file_name')
    assert 'x.json: tolerated: annotations without area: 1 (taken as' in log.text


def test_only_the_path_is_pickled(tmp_path):
    data = example()
    data['images'] = [{**data['images'][0], 'id': i} for i in range(10, 1000)]
    table = open_images(write(tmp_path / 'x.json', data), 'file_name')
    pickled = pickle.dumps(table)
    assert len(pickled) < 500
    assert content(pickle.loads(pickled)) == content(table)


def _open(file, barrier, results) -> None:
    barrier.wait()
    results.put(content(open_images(file, 'file_name')))


def test_processes_that_start_at_once_have_one_result(tmp_path):
    images = [{**example()['images'][0], 'id': i, 'file_name': f'{i}.jpg'} for i in range(1000)]
    file = write(tmp_path / 'x.json', json.dumps(dict(images=images)).encode())
    context = multiprocessing.get_context('fork')
    barrier, results = context.Barrier(4), context.Queue()
    ranks = [context.Process(target=_open, args=(file, barrier, results)) for _ in range(4)]
    for rank in ranks:
        rank.start()
    expected = [(i, f'{i}.jpg', (64, 48)) for i in range(1000)]
    assert [results.get(timeout=100) for _ in ranks] == [expected] * 4
    for rank in ranks:
        rank.join()
    assert len(list((tmp_path / FOLDER).glob('*.npz'))) == 1
