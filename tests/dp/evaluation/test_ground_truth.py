"""The fast metrics against pycocotools, lvis and the recorded figures."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest

from oadp import compat
from oadp.categories import Categories, get_categories
from oadp.dp.fast_eval import Detections, GroundTruth

CATEGORIES = Categories(bases=tuple('abcd'), novels=tuple('xyz'))


def make_world(rng: np.random.Generator, num_images: int = 40, federated: bool = False):
    """Annotations as a dict, and detections near them: hits, duplicates, confusions, noise."""
    images, annotations, rows = [], [], []
    num_all = CATEGORIES.num_all
    for image_id in range(1, num_images + 1):
        n = rng.integers(1, 9)
        boxes = np.concatenate([rng.uniform(0, 400, (n, 2)), rng.uniform(8, 180, (n, 2))], 1)
        labels = rng.integers(0, num_all - 1, n)  # no ground truth of the last category
        for box, label in zip(boxes, labels, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=int(label),
                    bbox=box.tolist(),
                    area=float(box[2:].prod() * 0.7),
                    iscrowd=0 if federated else int(rng.random() < 0.1),
                    segmentation=[],
                )
            )
        absent = sorted({*range(num_all)} - {*labels.tolist()})
        images.append(
            dict(
                id=image_id,
                width=600,
                height=600,
                file_name='',
                neg_category_ids=absent[:2],
                not_exhaustive_category_ids=labels[:1].tolist(),
            )
        )
        m = int(rng.integers(0, 130))
        near = rng.integers(0, n, m)
        xywh = boxes[near] + rng.normal(0, 0.12, (m, 4)) * np.tile(boxes[near, 2:], (1, 2))
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + np.abs(xywh[:, 2:]) + 1], 1)
        label = np.where(rng.random(m) < 0.6, labels[near], rng.integers(0, num_all, m))
        score = np.sort(np.round(rng.random(m), 2))[::-1]  # with ties
        rows.append(
            Detections(
                np.full(m, image_id), label, xyxy.astype(np.float32), score.astype(np.float32)
            )
        )
    data = dict(
        images=images,
        annotations=annotations,
        categories=[
            dict(id=i, name=name, frequency='rcf'[i % 3]) for i, name in enumerate(CATEGORIES.all_)
        ],
    )
    return data, Detections.concatenate(rows)


def as_results(detections: Detections) -> list[dict]:
    return [
        dict(
            image_id=int(i),
            category_id=int(c),
            bbox=[
                float(v) for v in (b[0], b[1], float(b[2]) - float(b[0]), float(b[3]) - float(b[1]))
            ],
            score=float(s),
        )
        for i, c, b, s in zip(*detections, strict=True)
    ]


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / 'instances.json'
        path.write_text(json.dumps(data))
        return path

    return write


@pytest.mark.parametrize('seed', [0, 1])
def test_equals_pycocotools(seed, written):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data, detections = make_world(np.random.default_rng(seed))
    got = GroundTruth(written(data), CATEGORIES).evaluate(detections)

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(data)
        coco.createIndex()
        found = coco.loadRes(as_results(detections))
        for split, labels in (('4_3', range(7)), ('4', range(4)), ('3', range(4, 7))):
            reference = COCOeval(coco, found, 'bbox')
            reference.params.catIds = list(labels)
            reference.params.maxDets = [100, 300, 1000]
            reference.evaluate()
            reference.accumulate()
            reference.summarize()
            want = reference.stats[:6]
            keys = [f'COCO_{split}_bbox_mAP_{k}' for k in ('', '50', '75', 's', 'm', 'l')]
            np.testing.assert_allclose([got[k] for k in keys], want, atol=1e-12)
    assert len(got) == 18
    assert 0.05 < got['COCO_3_bbox_mAP_50'] < 0.95


@pytest.mark.parametrize('seed', [0, 1])
def test_equals_lvis(seed, written):
    compat.install()
    from lvis import LVIS, LVISEval, LVISResults

    data, detections = make_world(np.random.default_rng(seed), federated=True)
    path = written(data)
    got = GroundTruth(path, CATEGORIES, federated=True).evaluate(detections)
    ground_truth = LVIS(str(path))
    reference = LVISEval(ground_truth, LVISResults(ground_truth, as_results(detections)), 'bbox')
    reference.run()
    want = reference.get_results()
    assert len(got) == 9
    for name, value in got.items():
        assert value == pytest.approx(want[name.removeprefix('bbox_')], abs=1e-12), name
    assert 0.05 < got['bbox_APr'] < 0.95


@pytest.mark.parametrize(
    ('name', 'ann_file', 'federated', 'digits'),
    [
        ('coco', 'coco/instances_val2017.65.min.json', False, 4),
        ('lvis', 'lvis_v1/lvis_v1_val.1203.json', True, 3),
    ],
)
def test_recorded_figures(golden, name, ann_file, federated, digits):
    recorded = json.loads((golden / 'expected' / 'evaluation.json').read_text())[name]
    rows = [(d['image_id'], *row) for d in recorded['detections'] for row in d['dets']]
    table = np.array(rows)
    detections = Detections(
        table[:, 0].astype(int),
        table[:, 1].astype(int),
        table[:, 2:6].astype(np.float32),
        table[:, 6].astype(np.float32),
    )
    path = golden / 'expected' / 'annotations' / ann_file
    got = GroundTruth(path, get_categories(name), federated).evaluate(detections)
    want = {k: float(v) for k, v in recorded['metrics'].items() if 'copypaste' not in k}
    assert {k: round(v, digits) for k, v in got.items()} == want


def test_some_metrics_of_some_images(written):
    data, detections = make_world(np.random.default_rng(3))
    path = written(data)
    everything = GroundTruth(path, CATEGORIES)
    name = 'COCO_3_bbox_mAP_50'
    assert everything.evaluate(detections, [name]) == {name: everything.evaluate(detections)[name]}

    half = GroundTruth(path, CATEGORIES, image_ids=range(1, 21))
    assert half.image_ids == list(range(1, 21))
    kept = detections.select(detections.image_ids <= 20)
    assert half.evaluate(kept) == half.evaluate(detections) != everything.evaluate(detections)


def test_no_detections(written):
    data, _ = make_world(np.random.default_rng(0))
    got = GroundTruth(written(data), CATEGORIES).evaluate(Detections.concatenate([]))
    assert got['COCO_4_3_bbox_mAP_50'] == 0


def test_faults_are_named(written, tmp_path):
    data, detections = make_world(np.random.default_rng(0))
    path = written(data)
    with pytest.raises(FileNotFoundError, match='build_annotations'):
        GroundTruth(tmp_path / 'no.json', CATEGORIES)
    with pytest.raises(ValueError, match=r"lacks 1 of 8 categories, such as \['w'\]"):
        GroundTruth(path, Categories(CATEGORIES.bases, (*CATEGORIES.novels, 'w')))
    with pytest.raises(ValueError, match=r'lacks 1 of 2 images, such as \[999\]'):
        GroundTruth(path, CATEGORIES, image_ids=[1, 999])
    with pytest.raises(ValueError, match=r"\['AP'\]; choose from \['COCO_4_3_bbox_mAP_'"):
        GroundTruth(path, CATEGORIES).evaluate(detections, ['AP'])


def test_fewer_categories_than_the_file_has(written):
    """A subset of LVIS's: what images say of the others is no matter."""
    data, detections = make_world(np.random.default_rng(0), federated=True)
    path = written(data)
    some = Categories(bases=CATEGORIES.bases, novels=CATEGORIES.novels[:1])
    every = GroundTruth(path, CATEGORIES, federated=True).evaluate(detections)
    got = GroundTruth(path, some, federated=True).evaluate(
        detections.select(detections.labels < some.num_all)
    )
    assert 0 < got['bbox_AP50'] != every['bbox_AP50']
