"""The benchmark's dataset: reproducible, in COCO's format, without novel labels for training."""

import hashlib
import json
import pathlib

import numpy as np
import pytest
from pycocotools.coco import COCO

from oadp import build_annotations
from oadp.categories import get_categories
from oadp.mini.classes import BASES, NOVELS
from oadp.mini.dataset import NOVEL_FREQUENCY, Split, draw_split, write_dataset
from oadp.mini.scene import MAX_COVERED, draw_scene

NUM_TRAIN, NUM_VAL = 12, 5


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp('mini')
    write_dataset(path, seed=3, num_train=NUM_TRAIN, num_val=NUM_VAL)
    return path


def digest(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*.*'))
        if path.is_file()
    }


def test_equal_seeds_give_equal_files(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_dataset(tmp_path, seed=3, num_train=NUM_TRAIN, num_val=NUM_VAL)
    assert len(digest(root)) == NUM_TRAIN + NUM_VAL + 3
    assert digest(root) == digest(tmp_path)


def test_another_seed_gives_other_images() -> None:
    first, second = (next(draw_split(Split.train, 1, seed)).image for seed in (0, 1))
    assert first.shape != second.shape or (first != second).any()


def test_splits_share_no_image() -> None:
    images = {scene.image.tobytes() for split in Split for scene in draw_split(split, 3, seed=0)}
    assert len(images) == 3 * len(Split)


@pytest.mark.parametrize('split, count', [('train', NUM_TRAIN), ('val', NUM_VAL)])
def test_pycocotools_reads_the_annotations(root: pathlib.Path, split: str, count: int) -> None:
    coco = COCO(root / 'annotations' / f'instances_{split}.json')
    assert len(coco.imgs) == count
    assert {c['name'] for c in coco.cats.values()} == {*BASES, *NOVELS}
    for annotation in coco.anns.values():
        image = coco.imgs[annotation['image_id']]
        x, y, w, h = annotation['bbox']
        assert w > 0 and h > 0 and 0 < annotation['area'] <= w * h
        assert x >= 0 and y >= 0 and x + w <= image['width'] and y + h <= image['height']
        assert (root / split / image['file_name']).is_file()


def test_the_category_file_has_base_and_novel_classes(root: pathlib.Path) -> None:
    categories = get_categories(str(root / 'categories.json'))
    assert categories.bases == BASES and categories.novels == NOVELS
    assert categories.num_bases == 2 * categories.num_novels


def test_no_novel_label_reaches_the_training_file(root: pathlib.Path) -> None:
    build_annotations.main(
        ['--annotations', str(root / 'annotations/instances_train.json')]
        + ['--categories', str(root / 'categories.json')]
    )
    everything = json.loads((root / 'annotations/instances_train.json').read_text())
    names = {c['id']: c['name'] for c in everything['categories']}
    assert {names[a['category_id']] for a in everything['annotations']} & set(NOVELS)

    training = json.loads((root / f'annotations/instances_train.{len(BASES)}.json').read_text())
    names = {c['id']: c['name'] for c in training['categories']}
    found = {names[a['category_id']] for a in training['annotations']}
    assert found and found <= set(BASES)
    assert len(training['images']) == NUM_TRAIN


def test_novel_objects_are_as_rare_in_training_images_as_in_coco() -> None:
    shares = {}
    for split in (Split.train, Split.val):
        names = [name for scene in draw_split(split, 600, seed=0) for name in scene.names]
        assert set(names) == {*BASES, *NOVELS}
        shares[split] = sum(name in NOVELS for name in names) / len(names)
    novel = NOVEL_FREQUENCY * len(NOVELS)
    assert shares[Split.train] == pytest.approx(novel / (novel + len(BASES)), abs=0.03)
    assert shares[Split.val] == pytest.approx(1 / 3, abs=0.04)


def test_objects_cover_little_of_one_another() -> None:
    for seed in range(10):
        boxes = draw_scene(np.random.default_rng(seed), BASES + NOVELS).boxes
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        for i in range(len(boxes)):
            for j in range(i):
                inner = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(
                    boxes[i, :2], boxes[j, :2]
                )
                assert inner.clip(0).prod() <= MAX_COVERED * min(areas[i], areas[j])
