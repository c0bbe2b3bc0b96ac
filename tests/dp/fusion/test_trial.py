"""The search is compared with the detector: mmdet's NMS and the metrics of the dataset."""

import json

import numpy as np
import pytest
import torch
from mmdet.core import bbox2result, multiclass_nms
from small_dump import CATEGORIES, NMS, make_small_dump

from oadp.dp.evaluation import Detections, GroundTruth
from oadp.dp.fusion.records import Dump
from oadp.dp.fusion.scores import FusionParameters, fuse_scores
from oadp.dp.fusion.trial import FusionSearch, choose_images

CHANGED = FusionParameters(bbox_novel_gamma=0.75, object_novel_gamma=0.25, objectness_gamma=0.5)


@pytest.fixture
def files(tmp_path):
    return make_small_dump(tmp_path)


@pytest.fixture
def search(files):
    return FusionSearch(Dump(files.dump), GroundTruth(files.ann_file, CATEGORIES))


@pytest.mark.parametrize('parameters', [FusionParameters(), CHANGED])
def test_equals_the_detector(files, search, parameters):
    dump = Dump(files.dump)
    results = []
    for image_id in dump.image_ids():
        boxes, bbox_logits, object_logits, objectness = dump.read(image_id)
        is_base = torch.arange(CATEGORIES.num_all) < CATEGORIES.num_bases
        scores = fuse_scores(bbox_logits, object_logits, is_base, parameters, objectness)
        found = multiclass_nms(boxes, scores, NMS['score_thr'], NMS['nms'], NMS['max_per_img'])
        results.append(bbox2result(*found, CATEGORIES.num_all))
    detections = Detections.from_results(dump.image_ids(), results)
    want = GroundTruth(files.ann_file, CATEGORIES).evaluate(detections)

    got = search.evaluate(parameters)

    assert got == pytest.approx(want, abs=1e-9)
    assert len(got) == 36
    assert 0.2 < got['COCO_3_bbox_mAP_50'] < 0.98


def test_setting_changes_the_result(search):
    default, changed = search.evaluate(FusionParameters()), search.evaluate(CHANGED)
    name = 'COCO_3_bbox_mAP_50'
    # The simulated object head is more accurate on novel classes, so a lower weight reduces the AP.
    assert default[name] - changed[name] > 0.05


def test_intermediate_results_are_on_the_first_images(files, search):
    name, reports = 'COCO_3_bbox_mAP_50', []
    final = search.evaluate(FusionParameters(), [name], (name, reports.append))
    dump = Dump(files.dump)
    for value, count in zip(reports, (6, 12), strict=True):
        some = GroundTruth(files.ann_file, CATEGORIES, image_ids=dump.image_ids()[:count])
        assert FusionSearch(dump, some).evaluate(FusionParameters())[name] == value
    assert final == {name: search.evaluate(FusionParameters())[name]}


def test_missing_records_are_listed(tmp_path):
    files = make_small_dump(tmp_path, num_images=6, skip=(20, 50))
    ground_truth = GroundTruth(files.ann_file, CATEGORIES)
    with pytest.raises(FileNotFoundError, match=r'2 of 6 images, such as \[20, 50\]; run DUMP='):
        FusionSearch(Dump(files.dump), ground_truth)


def test_halves_are_fixed_and_complete():
    ids = np.random.default_rng(0).permutation(1000).tolist()
    train, val = choose_images('train', ids), choose_images('val', ids)
    assert choose_images(None, ids) == sorted(train + val) == list(range(1000))
    assert 400 < len(train) < 600
    assert choose_images('train', ids[:300]) == [i for i in train if i in set(ids[:300])]


@pytest.mark.parametrize('text', ['3\n1 2\n', '[1, 2, 3]'])
def test_images_from_a_file(tmp_path, text):
    path = tmp_path / 'ids.txt'
    path.write_text(text)
    assert choose_images(str(path), range(10)) == [1, 2, 3]


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        (None, FileNotFoundError, 'train, val or a file'),
        ('1 two', ValueError, 'expected image ids.*two'),
        (json.dumps([1, 99]), ValueError, r'1 of 2 images are not in .*\[99\]'),
        ('', ValueError, 'the file is empty'),
        ('[]', ValueError, 'none of 10 images'),
    ],
)
def test_invalid_choices(tmp_path, text, error, message):
    path = tmp_path / 'ids.txt'
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        choose_images(str(path), range(10))
