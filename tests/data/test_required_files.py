"""The required files of the README, and their states."""

import pathlib

import pytest

from oadp.data.required_files import Entry, required_files, state_of


@pytest.fixture(autouse=True)
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def all_paths() -> set[str]:
    return {str(path) for entry in required_files() for path in entry.paths}


def test_files_of_the_readme() -> None:
    paths = all_paths()
    for path in (
        'data/coco/annotations/instances_val2017.json',
        'data/coco/annotations/instances_val2017.65.min.json',
        'data/lvis_v1/annotations/lvis_v1_train.866.json',
        'data/lvis_v1/proposals/oln_r50_fpn_lvis_val.pkl',
        'data/coco/proposals/rpn_r101_fpn_coco_train.pkl',
        'data/coco/oake/objects/train2017',
        'data/prompts/ml_coco.pth',
        'pretrained/soco/soco_star_mask_rcnn_r50_fpn_400e.pth',
    ):
        assert path in paths
    assert len([p for p in paths if p.endswith('.pkl')]) == 6
    # Sources: 2 of COCO, 2 of LVIS; made of them: 5 and 4.
    assert len([p for p in paths if '/annotations/' in p]) == 4 + 9
    assert not [p for p in paths if '{' in p or '}' in p]


def test_files_of_the_golden_data(golden_workdir: pathlib.Path) -> None:
    there = {str(p) for e in required_files() for p in e.paths if state_of([p])[0]}
    assert {'data/coco/train2017', 'data/coco/annotations/instances_val2017.json'} <= there


@pytest.mark.parametrize(
    'pattern, expected',
    [
        ('a/b.json', ['a/b.json']),
        ('a/{b,c}', ['a/b', 'a/c']),
        ('a/{b.1,c.2}.json', ['a/b.1.json', 'a/c.2.json']),
    ],
)
def test_patterns(pattern: str, expected: list[str]) -> None:
    assert [str(p) for p in Entry(pattern, '', '').paths] == expected


def test_state_of_one_path(here: pathlib.Path) -> None:
    path = here / 'train2017'
    assert state_of([path]) == (False, 'missing')
    path.mkdir()
    assert state_of([path]) == (False, 'an empty folder')
    (path / '.x.oadp-tmp').touch()
    assert state_of([path]) == (False, 'an empty folder')
    (path / '1.jpg').touch()
    assert state_of([path]) == (True, '1 entries')

    file = here / 'a.pth'
    file.touch()
    assert state_of([file]) == (False, 'an empty file')
    file.write_bytes(b'x' * 1500)
    assert state_of([file]) == (True, '1.5 kB')
    file.write_bytes(b'x' * 2_000_000)
    assert state_of([file]) == (True, '2.0 MB')


def test_state_of_links(here: pathlib.Path) -> None:
    coco, lvis = here / 'coco', here / 'lvis_v1'
    (coco / 'train2017').mkdir(parents=True)
    (coco / 'train2017' / '1.jpg').touch()
    lvis.mkdir()
    (lvis / 'val2017').symlink_to('../coco/train2017')
    assert state_of([lvis / 'val2017']) == (False, 'links to train2017')
    (lvis / 'train2017').symlink_to('../coco/train2017')
    assert state_of([lvis / 'train2017']) == (True, '1 entries')
    (lvis / 'x').symlink_to('../coco/y')
    assert state_of([lvis / 'x']) == (False, 'a link to ../coco/y, which does not exist')


def test_packed_features_are_present(here: pathlib.Path) -> None:
    (here / 'train2017.lmdb').touch()
    assert state_of([here / 'train2017']) == (True, 'packed: train2017.lmdb')


def test_state_of_several_paths(here: pathlib.Path) -> None:
    a, b = here / 'a', here / 'b'
    assert state_of([a, b]) == (False, 'missing')
    a.write_bytes(b'x')
    assert state_of([a, b]) == (False, 'b: missing')
    b.write_bytes(b'x')
    assert state_of([a, b]) == (True, 'there')
