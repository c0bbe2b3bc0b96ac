"""The category sets of the paper, and a user's own."""

import json
import pathlib

import pytest

from oadp.categories import Categories, get_categories


@pytest.mark.parametrize('name, bases, novels', [('coco', 48, 17), ('lvis', 866, 337)])
def test_sizes(name: str, bases: int, novels: int) -> None:
    categories = get_categories(name)
    assert (categories.num_bases, categories.num_novels) == (bases, novels)
    assert categories.num_all == bases + novels == len(set(categories.all_))
    assert categories.all_ == categories.bases + categories.novels


def test_some_of_the_names() -> None:
    coco = get_categories('coco')
    # The usual novel classes of OV-COCO; these 17 are named in every paper on it.
    assert {'airplane', 'bus', 'cat', 'dog', 'scissors', 'umbrella'} <= {*coco.novels}
    assert {'person', 'car', 'toilet'} <= {*coco.bases}


@pytest.mark.parametrize(
    'name, file',
    [
        ('coco', 'coco/instances_val2017.65.json'),
        ('lvis', 'lvis_v1/lvis_v1_val.1203.json'),
    ],
)
def test_order_as_in_the_reference(golden: pathlib.Path, name: str, file: str) -> None:
    annotations = json.loads((golden / 'expected' / 'annotations' / file).read_text())
    names = [c['name'] for c in sorted(annotations['categories'], key=lambda c: c['id'])]
    assert list(get_categories(name).all_) == names


def test_category_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'mine.json'
    path.write_text(json.dumps({'bases': ['cat', 'dog'], 'novels': ['fox']}))
    assert get_categories(str(path)) == Categories(bases=('cat', 'dog'), novels=('fox',))
    path.write_text(json.dumps({'bases': ['cat'], 'novels': []}))
    assert get_categories(str(path)).num_all == 1, 'a changed file is read again'


@pytest.mark.parametrize(
    'content, message',
    [
        ('{', 'cut off after 1 characters'),
        ('cat', 'not JSON'),
        ('[' * 100_000, 'nested too deeply'),
        ('{"bases": ["鸮"], "novels": []}'.encode('gbk'), 'not encoded in UTF-8'),
        ('[]', 'expected an object'),
        ('{"bases": ["a"]}', 'expected an object'),
        ('{"bases": "ab", "novels": []}', 'expected an object'),
        ('{"bases": [], "novels": ["a"]}', 'at least one base class'),
        ('{"bases": ["a", "b"], "novels": ["b"]}', "'b' is listed 2 times"),
        ('{"bases": ["a", " "], "novels": [3]}', "' ' is not a non-empty.*; 3 is not"),
        ('{"bases": [["a"]], "novels": []}', 'is not a non-empty string'),
    ],
)
def test_bad_files(tmp_path: pathlib.Path, content: str | bytes, message: str) -> None:
    path = tmp_path / 'mine.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf'mine\.json.*{message}'):
        get_categories(str(path))


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match=r"unknown categories 'voc'; choose from \['coco', 'lvis'\]"
    ):
        get_categories('voc')
    with pytest.raises(FileNotFoundError, match='no/such.json'):
        get_categories('no/such.json')
