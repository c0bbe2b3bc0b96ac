"""A small annotation file, and what may be wrong with one, for the tests of all that read such files."""

import copy
import json
import pathlib
from typing import Any

from hypothesis import strategies as st

from oadp.categories import Categories
from oadp.data.annotations.checks import AnnotationCheck, not_an_object
from oadp.utils.json_text import read_json

CATEGORIES = Categories(bases=('cat',), novels=('owl',))
ALL_NEEDS = ('annotations', 'file_name', 'coco_url', 'size', 'box', 'mask', 'lvis')


def example() -> dict[str, Any]:
    """A file in the format of both COCO and LVIS."""
    images = [
        dict(
            id=i,
            file_name=f'{i}.jpg',
            coco_url=f'http://images.cocodataset.org/val2017/{i}.jpg',
            width=64,
            height=48,
            neg_category_ids=[5],
            not_exhaustive_category_ids=[],
        )
        for i in (10, 20)
    ]
    annotations = [
        dict(
            id=i,
            image_id=10,
            category_id=3,
            bbox=[1.5, 2, 3, 4],
            area=12.0,
            iscrowd=0,
            segmentation=[[1, 2, 4, 2, 4, 6, 1, 6]],
        )
        for i in (0, 1, 2)
    ]
    names = {3: 'cat', 5: 'owl'}
    categories = [dict(id=i, name=name, frequency='r') for i, name in names.items()]
    return dict(images=images, annotations=annotations, categories=categories)


def write(path: pathlib.Path, data: Any) -> pathlib.Path:
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def read_whole(path: pathlib.Path, needs=(), categories=None) -> tuple[dict[str, Any], Any]:
    """Decode a file at once, check it, and fill in ``iscrowd`` and ``area``; also return the columns."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError(not_an_object(path, type(data).__name__))
    check = AnnotationCheck(needs, categories)
    for name in ('images', 'categories', 'annotations'):
        if isinstance(data.get(name), list):
            check.add_list(name, data[name])
    report = check.finish(path, {key: type(value).__name__ for key, value in data.items()})
    report.use()
    for annotation in data.get('annotations', []):
        if annotation.get('iscrowd') is None:
            annotation['iscrowd'] = 0
        if annotation.get('area') is None and 'bbox' in annotation:
            annotation['area'] = float(annotation['bbox'][2] * annotation['bbox'][3])
    return data, report.columns


def changed(path: tuple, value: Any) -> dict[str, Any]:
    """Return the example with one value replaced, or deleted if the new value is ``...``."""
    data: Any = example()
    node = data
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return data


NAN = float('nan')
ANNOTATION = ('annotations', 1)
CASES = [
    ((*ANNOTATION, 'id'), 2, r'annotations with duplicate ids: 1 \(id 2: 2 times\)'),
    ((*ANNOTATION, 'id'), ..., r'annotations without id: 1 \(annotations\[1\]\)'),
    ((*ANNOTATION, 'id'), '1', 'annotations whose id is not an integer: 1'),
    ((*ANNOTATION, 'id'), 1.0, 'annotations whose id is not an integer: 1'),
    ((*ANNOTATION, 'id'), True, 'annotations whose id is not an integer: 1'),
    ((*ANNOTATION, 'id'), -4, 'annotations whose id is out of range: 1'),
    ((*ANNOTATION, 'id'), 2**63, 'annotations whose id is out of range: 1'),
    ((*ANNOTATION, 'image_id'), 77, r'image_id is not among the images: 1 \(id 1: 77\)'),
    ((*ANNOTATION, 'image_id'), '10', r"image_id is not an integer: 1 \(id 1: '10'\)"),
    ((*ANNOTATION, 'category_id'), 4, r'category_id is not among the categories: 1 \(id 1: 4\)'),
    ((*ANNOTATION, 'category_id'), None, r'annotations without category_id: 1 \(id 1\)'),
    ((*ANNOTATION, 'bbox'), ..., r'annotations without bbox: 1 \(id 1\)'),
    ((*ANNOTATION, 'bbox'), [], r'bbox is not four finite numbers: 1 \(id 1: \[\]\)'),
    ((*ANNOTATION, 'bbox', 2), NAN, 'bbox is not four finite numbers: 1'),
    ((*ANNOTATION, 'bbox', 2), 10**400, 'bbox is not four finite numbers: 1'),
    ((*ANNOTATION, 'bbox', 2), '3', 'bbox is not four finite numbers: 1'),
    ((*ANNOTATION, 'bbox', 2), -3, 'bbox has a negative width or height: 1'),
    ((*ANNOTATION, 'area'), NAN, r'area is not a number from 0: 1 \(id 1: nan\)'),
    ((*ANNOTATION, 'area'), '12', 'area is not a number from 0: 1'),
    ((*ANNOTATION, 'iscrowd'), 2, 'iscrowd is neither 0 nor 1: 1'),
    ((*ANNOTATION, 'iscrowd'), [], 'iscrowd is neither 0 nor 1: 1'),
    ((*ANNOTATION, 'segmentation'), [], r'annotations without segmentation: 1 \(id 1\)'),
    ((*ANNOTATION, 'segmentation'), ..., r'annotations without segmentation: 1 \(id 1\)'),
    ((*ANNOTATION, 'segmentation'), [[1, 2, 3, 4]], 'neither polygons of at least three points'),
    ((*ANNOTATION, 'segmentation'), [[1, 2, 3, 4, 5, NAN]], 'neither polygons'),
    ((*ANNOTATION, 'segmentation'), [['a'] * 6], 'neither polygons'),
    ((*ANNOTATION, 'segmentation'), dict(size=[48, 64], counts=[1, 2]), 'neither polygons'),
    ((*ANNOTATION, 'segmentation'), dict(size=[64, 48], counts=[3072]), 'size of the annotation'),
    (ANNOTATION, [1], r'"annotations" that are not objects: 1 \(annotations\[1\]: \[1\]\)'),
    (('annotations',), {}, 'values that should be lists: 1 ."annotations" is a dict'),
    (('categories',), ..., 'lists missing: 1 ."categories"'),
    (('images',), [], 'empty lists: 1 ."images"'),
    (('images', 1, 'id'), 10, r'images with duplicate ids: 1 \(id 10: 2 times\)'),
    (('images', 1, 'file_name'), ..., r'images without file_name: 1 \(id 20\)'),
    (('images', 1, 'file_name'), 3, 'images whose file_name is not a name: 1'),
    (('images', 1, 'file_name'), 'a\0b', 'images whose file_name is not a name: 1'),
    (('images', 1, 'coco_url'), ..., 'images without coco_url: 1 .*use type COCO'),
    (('images', 1, 'width'), -1, r'no size of an image: 1 \(id 20: -1 × 48\)'),
    (('images', 1, 'width'), ..., r'no size of an image: 1 \(id 20: None × 48\)'),
    (('images', 1, 'width'), 300_000_000, 'no size of an image: 1'),
    (('images', 1, 'neg_category_ids'), ..., 'without neg_category_ids: 1 .*use type OV_COCO'),
    (('images', 1, 'neg_category_ids'), [4], r'not among the categories: 1 \(4 in images\[1\]\)'),
    (('images', 1, 'not_exhaustive_category_ids'), 'x', 'not a list of category ids: 1'),
    (('categories', 1, 'frequency'), ..., 'without a frequency of r, c or f: 1 .*OV_COCO'),
    (('categories', 1, 'name'), 'cat', r"several categories have: 1 \('cat'\)"),
    (('categories', 1, 'name'), 'bat', r"that the file lacks: 1 \('owl'\)"),
    (('categories', 1, 'name'), ..., 'categories without a name: 1'),
    (('categories', 1, 'id'), 3, 'categories with duplicate ids: 1'),
]  # fmt: skip


TEXT = json.dumps(example()).encode()
FILES = [
    (b'', 'the file is empty'),
    (TEXT[:-1], r'cut off after \d+ characters'),
    (TEXT[:300], r'cut off after 300 characters'),
    (TEXT + b'{}', 'not JSON'),
    (b'cat', 'not JSON'),
    (b'[1]', 'expected an object with the lists .* found a list'),
    (b'[' * 100_000, 'x.json'),
    (b'{"a": ' + b'[' * 100_000, 'nested too deeply'),
    (b'{"a": ' + b'9' * 5000 + b'}', 'not JSON that can be read'),
    (TEXT.decode().encode('utf-16'), 'encoded in UTF-16, expected UTF-8'),
    (TEXT.replace(b'owl', '鸮'.encode('gbk')), r'not encoded in UTF-8: byte \d+ is 0x'),
]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(['id', 'bbox', 'size', 'counts']), inner, max_size=2)
    ),
    max_leaves=5,
)


@st.composite
def mutated_files(draw) -> bytes:
    """Return the example after a few replacements, deletions or repetitions, possibly truncated or with a changed byte."""
    data: Any = copy.deepcopy(example())
    for _ in range(draw(st.integers(1, 3))):
        node = data
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            kind = draw(st.sampled_from(['replace', 'delete', 'repeat']))
            if kind == 'replace':
                node[key] = draw(JSON)
            elif kind == 'delete':
                del node[key]
            elif isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            break
    content = json.dumps(data).encode()
    if draw(st.integers(0, 3)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    if content and draw(st.integers(0, 3)) == 0:
        i = draw(st.integers(0, len(content) - 1))
        content = content[:i] + bytes([draw(st.integers(0, 255))]) + content[i + 1 :]
    return content
