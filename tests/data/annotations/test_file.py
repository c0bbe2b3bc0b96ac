"""Large JSON files are read in parts, with the results of the json module."""

import json

import pytest

from oadp.data.annotations.file import AnnotationFile, iterate_lists


@pytest.mark.parametrize('indent', [None, 0, 3])
def test_spans_of_the_elements(indent):
    data = {
        'a': [{'x': [1, {'y': ']'}]}, 2.5],
        'b': {'c': [1]},
        'd': [],
        'e': 'f',
        'g': [[]],
        'h': None,
    }
    text = json.dumps(data, indent=indent)
    found = list(iterate_lists(text))
    assert [(k, v) for k, v, *_ in found] == [('a', data['a'][0]), ('a', 2.5), ('g', [])]
    assert all(json.loads(text[start:end]) == value for _, value, start, end in found)


def test_read(golden):
    path = golden / 'world/data/coco/annotations/instances_train2017.json'
    data, file = json.loads(path.read_text()), AnnotationFile.read(path)
    assert file.images == data['images'] and file.categories == data['categories']
    assert list(file.image_ids) == [a['image_id'] for a in data['annotations']]
    spans = zip(file.starts, file.ends, strict=True)
    assert [json.loads(file.text[a:b]) for a, b in spans] == data['annotations']
