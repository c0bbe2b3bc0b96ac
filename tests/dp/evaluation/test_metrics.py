import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from oadp.categories import Categories
from oadp.dp.evaluation import coco_metrics, coco_precision, metric_prefixes

CATEGORIES = Categories(bases=('cat', 'dog', 'cow'), novels=('fox', 'owl'))
IDS = [9, 2, 7, 1, 4]  # by label; not ascending


@pytest.fixture
def random_detections() -> tuple[COCO, list]:
    """Five images of 300 pixels, boxes of all sizes, detections near them and elsewhere."""
    rng = np.random.default_rng(0)
    coco = COCO()
    annotations, results = [], []
    for image_id in range(5):
        result: list = [[] for _ in IDS]
        for _ in range(8):
            label = int(rng.integers(len(IDS)))
            x, y, w, h = (float(v) for v in rng.uniform(5, 150, 4))
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=image_id, category_id=IDS[label],
                    bbox=[x, y, w, h], area=w * h, iscrowd=0,
                )
            )  # fmt: skip
            near = np.array([x, y, x + w, y + h]) + rng.normal(0, 4, 4)
            result[label].append([*near, rng.uniform()])
            result[int(rng.integers(len(IDS)))].append([x, y, x + 30, y + 30, rng.uniform()])
        results.append([np.array(r, np.float32).reshape(-1, 5) for r in result])
    coco.dataset = dict(
        images=[dict(id=i, width=300, height=300) for i in range(5)],
        annotations=annotations,
        categories=[dict(id=i, name=n) for i, n in zip(IDS, CATEGORIES.all_, strict=True)],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco, results


@pytest.mark.parametrize(
    ('prefix', 'labels'),
    [('COCO_3_2_', range(5)), ('COCO_3_', range(3)), ('COCO_2_', range(3, 5))],
)
def test_summaries_are_those_of_pycocotools(random_detections, prefix: str, labels: range):
    coco, results = random_detections
    precision = coco_precision(coco, range(5), IDS, results)
    metrics = coco_metrics(precision, CATEGORIES)
    rows = [
        dict(
            image_id=image_id, category_id=IDS[label], score=float(s),
            bbox=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
        )
        for image_id, result in enumerate(results)
        for label in labels
        for x1, y1, x2, y2, s in result[label]
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(coco, coco.loadRes(rows), 'bbox')
        evaluator.params.catIds = [IDS[label] for label in labels]
        evaluator.params.maxDets = [100, 300, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    got = [metrics[f'{prefix}bbox_mAP_{item}'] for item in ('', '50', '75', 's', 'm', 'l')]
    assert got == pytest.approx(evaluator.stats[:6].tolist(), abs=1e-6)
    assert 0.05 < got[0] < 0.95


def test_nothing_detected(random_detections):
    coco, results = random_detections
    nothing = [[boxes[:0] for boxes in result] for result in results]
    metrics = coco_metrics(coco_precision(coco, range(5), IDS, nothing), CATEGORIES)
    assert metrics['COCO_3_2_bbox_mAP_50'] == 0


def test_masks_of_rectangles_are_judged_as_their_boxes(random_detections):
    """COCO's masks, also twice in a run: pycocotools changes the ground truth in place."""
    coco, results = random_detections
    for ann in coco.anns.values():
        x, y, w, h = ann['bbox'] = [float(round(v)) for v in ann['bbox']]
        ann['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    results = [[np.hstack([b[:, :4].clip(0).round(), b[:, 4:]]) for b in r] for r in results]
    with_masks = [(r, [[_rectangle(b) for b in boxes] for boxes in r]) for r in results]
    by_boxes = coco_precision(coco, range(5), IDS, results)
    for _ in range(2):
        by_masks = coco_precision(coco, range(5), IDS, with_masks, 'segm')
        # pycocotools judges small, medium and large by the mask's area here, by the box's there.
        np.testing.assert_allclose(by_masks[..., 0, :], by_boxes[..., 0, :], atol=1e-6)


def _rectangle(box: np.ndarray) -> dict:
    mask = np.zeros((300, 300), np.uint8, order='F')
    x1, y1, x2, y2 = box[:4].astype(int)
    mask[y1:y2, x1:x2] = 1
    return mask_api.encode(mask)


@pytest.mark.parametrize(
    ('bases', 'novels', 'expected'),
    [
        (2, 1, {'all': 'COCO_2_1_', 'base': 'COCO_2_', 'novel': 'COCO_1_'}),
        (2, 2, {'all': 'COCO_2_2_', 'base': 'COCO_2_base_', 'novel': 'COCO_2_novel_'}),
        (2, 0, {'all': 'COCO_2_0_', 'base': 'COCO_2_'}),
    ],
)
def test_prefixes(bases: int, novels: int, expected: dict):
    names = ('a', 'b', 'c', 'd')
    categories = Categories(names[:bases], names[bases : bases + novels])
    assert metric_prefixes(categories) == expected
