"""The evaluator is compared with pycocotools, lvis-api and recorded metrics."""

import copy
import json
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest
from random_detections import (
    CATEGORIES,
    CATEGORY_IDS,
    lvis_figures,
    make_detections,
    pycocotools_figures,
    write,
)

from oadp.categories import Categories, get_categories
from oadp.data.annotations.table import open_annotations
from oadp.dp.evaluation import Detections, GroundTruth


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_equals_pycocotools(seed: int, metric: str):
    data, detections = make_detections(np.random.default_rng(seed), masks=metric == 'segm')
    got = GroundTruth(data, CATEGORIES, masks=True).evaluate(detections, metric=metric)
    want = pycocotools_figures(data, detections, metric)
    assert got == pytest.approx(want, abs=1e-12)
    assert len(got) == 36
    assert 0.05 < got[f'COCO_3_{metric}_mAP_50'] < 0.95


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_equals_lvis(seed: int, metric: str, tmp_path):
    rng = np.random.default_rng(seed)
    data, detections = make_detections(rng, federated=True, masks=metric == 'segm')
    got = GroundTruth(data, CATEGORIES, True, masks=True).evaluate(detections, metric=metric)
    want = lvis_figures(write(data, tmp_path / 'lvis.json'), detections, metric)
    ours = {k: got[f'{metric}_{k}'] for k in want}
    assert ours == pytest.approx(want, abs=1e-12)
    assert len(want) == 13 and set(got) - {f'{metric}_{k}' for k in want} == {
        f'{metric}_AR{f}@300' for f in 'rcf'
    }
    assert 0.05 < got[f'{metric}_APr'] < 0.95


def test_more_detections_than_the_limits(tmp_path):
    """COCO counts 1,000 detections per image and category, LVIS 300 per image."""
    rng = np.random.default_rng(0)
    data, _ = make_detections(rng, num_images=2)
    noise = rng.uniform(0, 100, (3000, 2))
    found = _perfect(data)
    many = Detections(
        np.concatenate([found.image_ids, rng.permutation(np.repeat([3, 6], 1500))]),
        np.concatenate([found.labels, rng.integers(0, 4, 3000)]),
        np.concatenate([found.boxes, np.concatenate([noise, noise + 40], 1)]).astype(np.float32),
        np.concatenate([rng.random(len(found.labels)), np.round(rng.random(3000), 2)]),
    )
    got = GroundTruth(data, CATEGORIES).evaluate(many)
    assert got == pytest.approx(pycocotools_figures(data, many, 'bbox'), abs=1e-12)
    assert got['COCO_4_bbox_AR_100'] < got['COCO_4_bbox_AR_1000']

    data, _ = make_detections(rng, num_images=2, federated=True)
    got = GroundTruth(data, CATEGORIES, True).evaluate(many)
    want = lvis_figures(write(data, tmp_path / 'lvis.json'), many, 'bbox')
    assert {k: got[f'bbox_{k}'] for k in want} == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    ('name', 'ann_file', 'federated', 'digits'),
    [
        ('coco', 'coco/instances_val2017.65.min.json', False, 4),
        ('lvis', 'lvis_v1/lvis_v1_val.1203.json', True, 3),
    ],
)
def test_recorded_metrics(golden, tmp_path, name, ann_file, federated, digits):
    recorded = json.loads((golden / 'expected' / 'evaluation.json').read_text())[name]
    rows = [(d['image_id'], *row) for d in recorded['detections'] for row in d['dets']]
    table = np.array(rows)
    detections = Detections(
        table[:, 0].astype(int),
        table[:, 1].astype(int),
        table[:, 2:6].astype(np.float32),
        table[:, 6].astype(np.float32),
    )
    # A copy, as the arrays that a file is converted to are written beside it.
    path = shutil.copyfile(golden / 'expected' / 'annotations' / ann_file, tmp_path / 'file.json')
    got = GroundTruth(path, get_categories(name), federated).evaluate(detections)
    want = {k: float(v) for k, v in recorded['metrics'].items() if 'copypaste' not in k}
    assert {k: round(got[k], digits) for k in want} == want


def _perfect(data: dict) -> Detections:
    rows = data['annotations']
    labels = [CATEGORY_IDS.index(a['category_id']) for a in rows]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in rows)])
    image_ids = np.array([a['image_id'] for a in rows])
    return Detections(image_ids, np.array(labels), boxes, np.full(len(rows), 0.9))


@pytest.mark.parametrize('federated', [False, True])
@pytest.mark.parametrize('number', [lambda n: n, lambda n: 0, lambda n: n % 5 + 1])
def test_ids_of_annotations_do_not_matter(federated: bool, number):
    """pycocotools and lvis-api treat id 0 as "not matched", and equal ids as one object."""
    data, _ = make_detections(np.random.default_rng(0), federated=federated)
    for n, annotation in enumerate(data['annotations']):
        _, _, w, h = annotation['bbox']
        annotation.update(id=number(n), iscrowd=0, area=w * h)
    got = GroundTruth(data, CATEGORIES, federated).evaluate(_perfect(data))
    judged = {k: v for k, v in got.items() if v != -1}
    assert judged == pytest.approx(dict.fromkeys(judged, 1.0), abs=1e-12)
    assert len(judged) >= 12


def test_area_and_crowd_may_be_missing():
    data, detections = make_detections(np.random.default_rng(0))
    bare = copy.deepcopy(data)
    for annotation, without in zip(data['annotations'], bare['annotations'], strict=True):
        annotation.update(iscrowd=0, area=annotation['bbox'][2] * annotation['bbox'][3])
        del without['iscrowd'], without['area']
    want = GroundTruth(data, CATEGORIES).evaluate(detections)
    assert GroundTruth(bare, CATEGORIES).evaluate(detections) == want


def test_ignored_objects_of_lvis_are_excluded(tmp_path):
    data, detections = make_detections(np.random.default_rng(4), federated=True)
    before = GroundTruth(data, CATEGORIES, True).evaluate(detections)
    for annotation in data['annotations'][::3]:
        annotation['ignore'] = 1
    got = GroundTruth(data, CATEGORIES, True).evaluate(detections)
    want = lvis_figures(write(data, tmp_path / 'lvis.json'), detections, 'bbox')
    assert {k: got[f'bbox_{k}'] for k in want} == pytest.approx(want, abs=1e-12)
    assert got != before


def test_some_metrics_of_some_images():
    data, detections = make_detections(np.random.default_rng(3))
    everything = GroundTruth(data, CATEGORIES)
    name = 'COCO_3_bbox_mAP_50'
    assert everything.evaluate(detections, [name]) == {name: everything.evaluate(detections)[name]}

    ids = everything.image_ids[:15]
    half = GroundTruth(data, CATEGORIES, image_ids=ids)
    assert half.image_ids == ids
    kept = detections.select(np.isin(detections.image_ids, ids))
    assert half.evaluate(kept) == half.evaluate(detections) != everything.evaluate(detections)
    assert everything.evaluate(detections, image_ids=ids) == half.evaluate(kept)


def test_images_keep_the_order_of_the_file():
    data, _ = make_detections(np.random.default_rng(3))
    truth = GroundTruth(data, CATEGORIES)
    assert truth.images_in_file_order == [image['id'] for image in data['images']]
    assert truth.image_ids == sorted(truth.images_in_file_order) != truth.images_in_file_order


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@pytest.mark.parametrize('federated', [False, True])
def test_a_table_gives_the_figures_of_its_file(tmp_path, federated: bool, metric: str):
    """The records of a table are decoded at each access, and numbers are those of its arrays."""
    data, detections = make_detections(
        np.random.default_rng(2), federated=federated, masks=metric == 'segm'
    )
    for n, annotation in enumerate(data['annotations']):
        annotation['id'] = n
        if n % 7 == 0:
            annotation['ignore'] = 1
    for annotation in data['annotations'][::5] if not federated else []:
        del annotation['iscrowd'], annotation['area']
    data['images'].reverse()
    table = open_annotations(write(data, tmp_path / 'x.json'), ('annotations', 'box'))
    ids = [image['id'] for image in data['images'][:20]]
    want = GroundTruth(data, CATEGORIES, federated, ids, masks=True)
    got = GroundTruth(table, CATEGORIES, federated, ids, masks=True)
    assert got.evaluate(detections, metric=metric) == want.evaluate(detections, metric=metric)
    assert got.images_in_file_order == want.images_in_file_order == ids
    assert got.sizes_wh() == want.sizes_wh()
    again = pickle.loads(pickle.dumps(got))
    assert again.evaluate(detections, metric=metric) == want.evaluate(detections, metric=metric)


def test_objects_of_a_table_take_the_memory_of_their_numbers(tmp_path):
    """Decoded, these annotations take 30 MB; the numbers of one take 65 bytes."""
    data, _ = make_detections(np.random.default_rng(0), masks=True)
    polygon = [[0.5 * (i % 90) for i in range(80)]]
    data['annotations'] = [
        {**data['annotations'][0], 'id': i, 'segmentation': polygon} for i in range(10_000)
    ]
    table = open_annotations(write(data, tmp_path / 'x.json'), ('annotations', 'box'))
    tracemalloc.start()
    try:
        truth = GroundTruth(table, CATEGORIES, masks=True)
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(truth.objects.labels) == 10_000
    assert taken < 1_000_000 and peak < 3_000_000  # bytes


@pytest.mark.parametrize('federated', [False, True])
def test_no_detections(federated: bool):
    data, _ = make_detections(np.random.default_rng(0), federated=federated)
    got = GroundTruth(data, CATEGORIES, federated).evaluate(Detections.concatenate([]))
    assert set(got.values()) == {0, -1} if federated else {0}


def test_errors(tmp_path):
    data, detections = make_detections(np.random.default_rng(0))
    path = write(data, tmp_path / 'instances.json')
    with pytest.raises(FileNotFoundError, match='build_annotations'):
        GroundTruth(tmp_path / 'no.json', CATEGORIES)
    with pytest.raises(ValueError, match="categories of the set.*'w'"):
        GroundTruth(path, Categories(CATEGORIES.bases, (*CATEGORIES.novels, 'w')))
    with pytest.raises(ValueError, match=r'lacks 1 of 2 images, such as \[999\]'):
        GroundTruth(path, CATEGORIES, image_ids=[3, 999])
    with pytest.raises(ValueError, match=r"\['AP'\]; choose from \['COCO_4_3_bbox_mAP_'"):
        GroundTruth(path, CATEGORIES).evaluate(detections, ['AP'])
    with pytest.raises(ValueError, match='needs masks, and this detector gives none'):
        GroundTruth(data, CATEGORIES, masks=True).evaluate(detections, metric='segm')
    with pytest.raises(ValueError, match='the annotations have none'):
        GroundTruth(data, CATEGORIES).evaluate(detections, metric='segm')
    with pytest.raises(ValueError, match="unknown metric 'boxes'"):
        GroundTruth(data, CATEGORIES).evaluate(detections, metric='boxes')


def test_subset_of_the_categories():
    """The other categories that the images of LVIS list are ignored."""
    data, detections = make_detections(np.random.default_rng(0), federated=True)
    some = Categories(bases=CATEGORIES.bases, novels=CATEGORIES.novels[:1])
    every = GroundTruth(data, CATEGORIES, federated=True).evaluate(detections)
    got = GroundTruth(data, some, federated=True).evaluate(
        detections.select(detections.labels < some.num_all)
    )
    assert 0 < got['bbox_AP50'] != every['bbox_AP50']


def test_pickle():
    """A dataset with an index is sent to the workers of a data loader."""
    data, detections = make_detections(np.random.default_rng(0))
    truth = GroundTruth(data, CATEGORIES)
    want = truth.evaluate(detections)
    assert pickle.loads(pickle.dumps(truth)).evaluate(detections) == want
