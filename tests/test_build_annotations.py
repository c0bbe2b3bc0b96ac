"""Annotation splits against the recorded ones, and on files made to be awkward."""

import json
import pathlib

import pytest

from oadp.build_annotations import main
from oadp.categories import Categories
from oadp.data.annotations import build as build_module
from oadp.data.annotations.build import build

CATEGORIES = Categories(bases=('cat', 'red fox'), novels=('owl',))


def content(path):
    return json.loads(pathlib.Path(path).read_text())


def test_nine_files_equal_the_recorded_ones(golden_workdir, golden):
    main([])
    expected = sorted((golden / 'expected/annotations').rglob('*.json'))
    assert len(expected) == 9
    for path in expected:
        mine = content(golden_workdir / 'data' / path.parent.name / 'annotations' / path.name)
        assert mine == content(path), path.name
    assert not list(golden_workdir.rglob('*.oadp-tmp')), 'a temporary file is left'


@pytest.fixture
def source(tmp_path):
    """Two images with three annotations, one without any, one with a class outside of the set."""

    def annotation(id_, image_id, category_id, **more):
        box = {'bbox': [1.10, 2, 3, 4], 'area': 12.0, 'iscrowd': 0}
        return {'id': id_, 'image_id': image_id, 'category_id': category_id, **box, **more}

    size = {'width': 64, 'height': 48}
    data = {
        'info': {'description': 'with "quotes", [brackets] and {braces}', 'list': [1, [2]]},
        'licenses': [],
        'annotations': [
            annotation(1, 10, 7),
            annotation(2, 10, 3, attributes={'category_id': 3, 'text': '"category_id": 3'}),
            annotation(3, 30, 5, segmentation={'size': [9, 9], 'counts': r'0]}\\"[{'}),
            annotation(4, 40, 9),
        ],
        'images': [
            {'id': 10, 'file_name': 'a.jpg', **size, 'neg_category_ids': [9, 3, 7]},
            {'id': 20, 'file_name': 'é].jpg', **size},
            {'id': 30, 'file_name': 'c.jpg', **size},
            {'id': 40, 'file_name': 'd.jpg', **size},
        ],
        'categories': [
            {'id': 3, 'name': 'owl', 'supercategory': 'bird'},
            {'id': 5, 'name': 'red fox'},
            {'id': 7, 'name': 'cat'},
            {'id': 9, 'name': 'dog'},
        ],
    }
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1))
    return path


def labels(path):
    return {a['id']: a['category_id'] for a in content(path)['annotations']}


def test_custom_set(source, tmp_path):
    written = build(source, CATEGORIES, tmp_path / 'out')
    assert [p.name for p in written] == ['val.2.json', 'val.3.json', 'val.3.min.json']
    base, all_, least = written
    assert labels(base) == {1: 0, 3: 1} and labels(all_) == labels(least) == {1: 0, 2: 2, 3: 1}
    image_ids = [[i['id'] for i in content(p)['images']] for p in written]
    assert image_ids == [[10, 20, 30, 40], [10, 20, 30, 40], [10, 30]]
    for path in written:
        categories = content(path)['categories']
        assert [(c['id'], c['name']) for c in categories] == [
            (0, 'cat'),
            (1, 'red fox'),
            (2, 'owl'),
        ]
    assert categories[2]['supercategory'] == 'bird'


def test_other_keys_are_kept(source, tmp_path):
    build(source, CATEGORIES, tmp_path / 'out')
    before = {a['id']: a for a in content(source)['annotations']}
    for a in content(tmp_path / 'out/val.3.json')['annotations']:
        assert {**before[a['id']], 'category_id': a['category_id']} == a
    images = content(tmp_path / 'out/val.3.json')['images']
    assert images[0]['neg_category_ids'] == [2, 0], 'the class outside of the set is dropped'
    assert images[1] == {'id': 20, 'file_name': 'é].jpg', 'width': 64, 'height': 48}


def test_command_writes_to_the_folder_of_the_file(source, tmp_path):
    categories = tmp_path / 'categories.json'
    categories.write_text(json.dumps({'bases': ['cat'], 'novels': []}))
    main(['--annotations', str(source), '--categories', str(categories)])
    assert labels(tmp_path / 'val.1.json') == {1: 0}
    assert {p.name for p in tmp_path.glob('val*')} == {'val.json', 'val.1.json', 'val.1.min.json'}


def test_missing_files(golden_workdir, capsys):
    (golden_workdir / 'data/lvis_v1/annotations/lvis_v1_train.json').unlink()
    (golden_workdir / 'data/coco/annotations/instances_val2017.json').unlink()
    main([])
    names = {p.name for p in (golden_workdir / 'data').rglob('*.json')}
    assert {'instances_train2017.48.json', 'lvis_v1_val.1203.json'} < names
    assert not any(n.startswith(('instances_val2017', 'lvis_v1_train')) for n in names)


def test_no_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'instances_train2017.json.*lvis_v1_val.json.*docs/preparation.md'
    ):
        main(['--data-root', str(tmp_path)])
    with pytest.raises(FileNotFoundError, match='No such file'):
        main(['--annotations', str(tmp_path / 'x.json'), '--categories', 'coco'])


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('', 'the file is empty'),
        ('[]', 'expected an object with the lists .* found a list'),
        ('{"images": [{"id": 1}', 'cut off after 21 characters'),
        ('{"annotations": [{"id": 1}]}', 'annotations without image_id: 1 '),
        ('{"images": [}', r'x.json: not JSON \(Expecting value in line 1, column 13'),
        ('{"images": []}', "the file lacks: 3 \\('cat', 'red fox', 'owl'\\); the set has 3 names"),
        (
            '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "red fox"}, {"id": 2, "name": "owl"}], '
            '"annotations": [{"id": 1, "image_id": 1, "category_id": 8}]}',
            r'annotations whose category_id is not among the categories: 1 \(id 1: 8\)',
        ),
        (
            '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "red fox"}, {"id": 2, "name": "owl"}], '
            '"images": [{"id": 1, "neg_category_ids": [2, 9]}], "annotations": []}',
            r'category ids in neg_category_ids .*: 1 \(9 in images\[0\]\)',
        ),
    ],
)
def test_faulty_files(text, match, tmp_path):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(ValueError, match=match):
        build(tmp_path / 'x.json', CATEGORIES, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_interrupted_write_leaves_nothing(source, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, '_relabel_image', fail)
    with pytest.raises(KeyboardInterrupt):
        build(source, CATEGORIES, tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())


@pytest.mark.parametrize('argv', [['--annotations', 'a.json'], ['--out-dir', 'x']])
def test_options_that_need_each_other(argv):
    with pytest.raises(SystemExit):
        main(argv)


@pytest.fixture
def two_splits(source, tmp_path, monkeypatch):
    """Named as by some exports: the folder tells the splits apart."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'valid'):
        (tmp_path / split).mkdir()
        (tmp_path / split / '_annotations.coco.json').write_text(source.read_text())
    names = {'bases': list(CATEGORIES.bases), 'novels': list(CATEGORIES.novels)}
    (tmp_path / 'c.json').write_text(json.dumps(names))
    paths = [f'{split}/_annotations.coco.json' for split in ('train', 'valid')]
    return ['--categories', 'c.json', '--annotations', *paths]


@pytest.mark.parametrize('other', ['_annotations.coco.json', '_Annotations.coco.json'])
def test_sources_with_the_same_output(two_splits, tmp_path, other):
    (tmp_path / 'valid/_annotations.coco.json').rename(tmp_path / 'valid' / other)
    two_splits[-1] = f'valid/{other}'
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    with pytest.raises((SystemExit, ValueError), match='train/_annot.* and valid/.* would both be'):
        main([*two_splits, '--out-dir', 'out'])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before
    main(two_splits)
    assert len(list((tmp_path / 'valid').iterdir())) == 4


def test_a_source_is_not_overwritten(two_splits, tmp_path):
    (tmp_path / 'valid/_annotations.coco.json').rename(tmp_path / '_annotations.coco.2.json')
    two_splits[-1] = '_annotations.coco.2.json'
    with pytest.raises(
        (SystemExit, ValueError), match='this file is read, and would be overwritten'
    ):
        main([*two_splits, '--out-dir', '.'])


def test_out_dir_is_a_file(two_splits, tmp_path):
    with pytest.raises((SystemExit, ValueError), match='--out-dir: .*c.json is not a folder'):
        main([*two_splits, '--out-dir', 'c.json'])
