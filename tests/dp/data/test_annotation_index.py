"""The index of a dataset has what pycocotools and lvis-api have, and the dataset what mmdet's has."""

import json
import pathlib
import pickle

import numpy as np
import pytest
from lvis import LVIS
from mmdet.datasets import DATASETS
from mmdet.datasets.api_wrappers import COCO
from training_dataset import CATEGORY_IDS, NAMES, make_training_dataset

from oadp.categories import Categories

CATEGORIES = Categories(bases=NAMES, novels=())


@pytest.fixture(scope='module', params=['coco', 'lvis'])
def file(request, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An annotation file with ids in no order, and an image without annotations."""
    root = tmp_path_factory.mktemp('index')
    make_training_dataset(root, lvis=request.param == 'lvis')
    data = json.loads((root / 'train.json').read_text())
    data['annotations'].sort(key=lambda a: a['id'] * 7 % 19)
    empty = data['images'][1]['id']
    data['annotations'] = [a for a in data['annotations'] if a['image_id'] != empty]
    data['annotations'][0]['ignore'] = 1
    data['annotations'][2]['iscrowd'] = 1
    path = root / f'{request.param}.json'
    path.write_text(json.dumps(data))
    return path


def build(file: pathlib.Path, with_mask: bool = True, **options):
    kind = 'OV_LVIS' if file.stem == 'lvis' else 'OV_COCO'
    steps = [dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask)]
    config = dict(type=kind, ann_file=str(file), pipeline=steps, categories=CATEGORIES, **options)
    return DATASETS.build(config)


@pytest.mark.parametrize('is_pickled', [False, True])
def test_the_index_is_that_of_the_libraries(file, is_pickled):
    dataset = build(file, test_mode=True)
    if is_pickled:
        dataset = pickle.loads(pickle.dumps(dataset))
    index, theirs = dataset.coco, (LVIS if file.stem == 'lvis' else COCO)(str(file))
    assert isinstance(index, LVIS if file.stem == 'lvis' else COCO)
    assert index.get_img_ids() == theirs.get_img_ids()
    assert index.get_cat_ids() == theirs.get_cat_ids()
    assert index.cats == theirs.cats
    assert {**index.anns} == theirs.anns and list(index.anns) == list(theirs.anns)
    images = {k: {n: v for n, v in i.items() if n != 'filename'} for k, i in index.imgs.items()}
    assert images == theirs.imgs and list(images) == list(theirs.imgs)
    assert {**index.img_ann_map} == theirs.img_ann_map
    assert {**index.cat_img_map} == theirs.cat_img_map
    assert list(index.img_ann_map) == list(theirs.img_ann_map)
    assert index.img_ann_map[-1] == index.cat_img_map[-1] == [] and -1 not in index.img_ann_map
    for image_id in index.get_img_ids():
        ids = theirs.get_ann_ids(img_ids=[image_id])
        assert index.get_ann_ids(img_ids=[image_id]) == ids
        assert index.load_anns(ids) == theirs.load_anns(ids)
    some = [CATEGORY_IDS['cat'], CATEGORY_IDS['owl']]
    assert index.get_ann_ids(cat_ids=some, area_rng=[0, 1e4]) == theirs.get_ann_ids(
        cat_ids=some, area_rng=[0, 1e4]
    )
    assert index.dataset['annotations'] == theirs.dataset['annotations']
    assert list(index.dataset) == list(theirs.dataset)


def test_the_dataset_is_that_of_mmdet(file):
    """Whatever is read without this project's labels: all categories are base."""
    kind = 'LVISV1Dataset' if file.stem == 'lvis' else 'CocoDataset'
    theirs = DATASETS.build(dict(type=kind, ann_file=str(file), pipeline=[], classes=NAMES))
    dataset = build(file)
    # In mmdet, the order of the file's categories gives the labels.
    relabel = [dataset.cat2label[i] for i in theirs.cat_ids]
    assert len(dataset) == len(theirs) and dataset.img_ids == theirs.img_ids
    np.testing.assert_array_equal(dataset.flag, theirs.flag)
    for index in range(len(dataset)):
        assert dataset.data_infos[index] == theirs.data_infos[index]
        assert dataset.get_cat_ids(index) == theirs.get_cat_ids(index)
        ours, expected = dataset.get_ann_info(index), theirs.get_ann_info(index)
        np.testing.assert_array_equal(ours['labels'], [relabel[i] for i in expected['labels']])
        for key in ('bboxes', 'bboxes_ignore'):
            np.testing.assert_array_equal(ours[key], expected[key])
            assert ours[key].dtype == expected[key].dtype
        assert ours['masks'] == expected['masks'] and ours['seg_map'] == expected['seg_map']


def test_images_without_annotations_can_be_kept(file):
    assert len(build(file, filter_empty_gt=False)) == len(build(file)) + 1


def test_proposals_are_those_of_the_images(file, tmp_path):
    images = json.loads(file.read_text())['images']
    arrays = [np.array([[0, 0, 9, 9, image['id']]], np.float32) for image in images]
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps(arrays))
    dataset = build(file, proposal_file=str(tmp_path / 'p.pkl'))
    assert len(dataset.proposals) == len(dataset) < len(images)
    for proposals, image_id in zip(dataset.proposals, dataset.img_ids, strict=True):
        assert proposals[0, 4] == image_id


def test_a_path_is_sent_to_other_processes(file, tmp_path):
    """Beside it, what grows with the number of images: their rows, ids and flags."""
    data = json.loads(file.read_text())
    large = tmp_path / file.name
    data['images'] += [{**data['images'][0], 'id': 1000 + i} for i in range(500)]
    data['annotations'] += [
        {**data['annotations'][0], 'id': 1000 + i, 'image_id': 1000 + i % 500} for i in range(5000)
    ]
    large.write_text(json.dumps(data))
    small, dataset = build(file), build(large)
    more = len(dataset) - len(small)
    assert more == 500
    assert len(pickle.dumps(dataset)) - len(pickle.dumps(small)) < 12 * more
    again = pickle.loads(pickle.dumps(dataset))
    assert again.get_ann_info(300)['masks'] == dataset.get_ann_info(300)['masks']
    assert again.data_infos[300] == dataset.data_infos[300]
