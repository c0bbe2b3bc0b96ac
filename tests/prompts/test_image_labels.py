"""Embeddings and labels are read in order; the mean average precision equals known values."""

import json

import pytest
import torch

from oadp.categories import Categories
from oadp.data.annotations.build import build
from oadp.data.features.stores import open_store
from oadp.prompts.image_labels import macro_map, read_image_labels
from oadp.utils.runtime import ProcessInfo

CATEGORIES = Categories(bases=('cat', 'dog'), novels=('owl',))
ALONE = ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
IMAGE_IDS = [30, 10, 20]


@pytest.fixture
def split(tmp_path):
    names = ['dog', 'cat', 'owl']
    pairs = [(10, 2), (10, 2), (10, 1), (30, 3), (30, 2)]  # image, category
    data = {
        'images': [
            {'id': i, 'file_name': f'{i}.jpg', 'width': 64, 'height': 48} for i in IMAGE_IDS
        ],
        'categories': [{'id': i + 1, 'name': n} for i, n in enumerate(names)],
        'annotations': [
            {'id': i, 'image_id': a, 'category_id': c, 'bbox': [1, 2, 3, 4]}
            for i, (a, c) in enumerate(pairs)
        ],
    }
    (tmp_path / 'x.json').write_text(json.dumps(data))
    build(tmp_path / 'x.json', CATEGORIES)
    store = open_store(tmp_path / 'blocks', 'blocks')
    for i in IMAGE_IDS:
        blocks = torch.arange(8.0).reshape(2, 4) + i
        store.write(i, {'embeddings': blocks.half(), 'bboxes': torch.zeros(2, 4).half()})
    return {'features': tmp_path / 'blocks', 'ann_file': tmp_path / 'x.3.json'}


def test_first_block_and_labels_by_image(split):
    images = read_image_labels(split, CATEGORIES, ALONE, num_workers=0)
    first = torch.arange(4.0)
    assert images.embeddings.equal(torch.stack([first + 10, first + 20, first + 30]).half())
    assert images.labels.int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    embeddings, labels = images.take(torch.tensor([2]))
    assert embeddings.norm() == pytest.approx(1) and labels.int().tolist() == [[1, 0, 1]]


def test_base_split_has_no_novel_label(split):
    split['ann_file'] = split['ann_file'].with_name('x.2.json')
    labels = read_image_labels(split, CATEGORIES, ALONE).labels
    assert labels.int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_error_lists_missing_features(split):
    (split['features'] / '000000000020.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r'000000000020.pth.*oadp.oake.blocks.*1 of 3'):
        read_image_labels(split, CATEGORIES, ALONE)
    few = read_image_labels(split, CATEGORIES, ALONE, dry_run=True)
    assert len(few) == 2 and few.labels.int().tolist() == [[1, 1, 0], [1, 0, 1]]


def test_annotations_with_other_categories(split):
    with pytest.raises(FileNotFoundError, match='none.json: .*build_annotations'):
        read_image_labels({**split, 'ann_file': 'none.json'}, CATEGORIES, ALONE)
    with pytest.raises(ValueError, match=r"expected the 2 categories .*'cat', 'dog', 'owl'"):
        read_image_labels(split, Categories(('cat', 'owl'), ()), ALONE)


def test_annotations_that_are_not_a_split(split):
    unsplit = split['ann_file'].with_name('x.json')  # its ids are from 1, dog before cat
    with pytest.raises(ValueError, match='in the same order.*build_annotations'):
        read_image_labels({**split, 'ann_file': unsplit}, CATEGORIES, ALONE)
    in_order = Categories(('dog', 'cat'), ('owl',))
    with pytest.raises(ValueError, match='in the same order.*build_annotations'):
        read_image_labels({**split, 'ann_file': unsplit}, in_order, ALONE)


def test_annotation_of_a_missing_image(split):
    data = json.loads(split['ann_file'].read_text())
    data['annotations'][0]['image_id'] = 1001
    split['ann_file'].write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r'x.3.json: .*not among the images: 1 \(id 0: 1001\)'):
        read_image_labels(split, CATEGORIES, ALONE)


@pytest.mark.parametrize(
    ('scores', 'labels', 'expected', 'caption'),
    [
        ([[0.9], [0.8], [0.1]], [[1], [0], [1]], 100 * (1 + 2 / 3) / 2, 'one class, by hand'),
        ([[0.9, 0.1], [0.8, 0.2]], [[1, 1], [0, 0]], 100 * (1 + 1 / 2) / 2, 'mean of two'),
        ([[0.9, 0.1], [0.8, 0.2]], [[1, 0], [0, 0]], 100, 'a class without images is left out'),
    ],
)
def test_macro_map(scores, labels, expected, caption):
    got = macro_map(torch.tensor(scores), torch.tensor(labels, dtype=torch.bool))
    assert got == pytest.approx(expected), caption


def test_macro_map_without_positives():
    assert torch.tensor(macro_map(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))).isnan()
