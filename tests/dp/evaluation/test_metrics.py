import numpy as np
import pytest
from random_detections import CATEGORIES, make_detections

from oadp.categories import Categories
from oadp.dp.evaluation import Curves, GroundTruth, copypaste, metric_prefixes
from oadp.dp.evaluation.metrics import coco_metrics, labels_of_metrics


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


def test_each_metric_uses_its_part_of_the_curves():
    """Each threshold, size range and limit has a different value; the means are computed by hand."""
    thresholds, areas, limits = np.arange(10), np.arange(4), np.arange(3)
    numbers = thresholds[:, None, None] + 10 * areas[:, None] + 100.0 * limits
    precision = np.broadcast_to(numbers[:, None, None], (10, 101, 7, 4, 3)).copy()
    precision[:, :, 6] = -1  # a class without objects
    precision[:, :, 4] += 1000
    recall = precision[:, 0]
    got = coco_metrics(Curves(precision, recall), CATEGORIES)
    prefix = 'COCO_4_bbox_'
    assert got[f'{prefix}mAP_'] == 4.5
    assert got[f'{prefix}mAP_50'] == 200 and got[f'{prefix}mAP_75'] == 205
    assert got[f'{prefix}mAP_s'] == 214.5 and got[f'{prefix}mAP_l'] == 234.5
    assert got[f'{prefix}AR_100'] == 4.5 and got[f'{prefix}AR_1000'] == 204.5
    assert got[f'{prefix}AR_m'] == 224.5
    assert got['COCO_3_bbox_mAP_50'] == 200 + 1000 / 2  # two of three novel classes have objects
    assert got['COCO_4_3_bbox_mAP_50'] == pytest.approx(200 + 1000 / 6)


def test_text_of_average_precisions():
    data, detections = make_detections(np.random.default_rng(0))
    metrics = GroundTruth(data, CATEGORIES).evaluate(detections)
    text = copypaste(metrics)
    assert list(text) == [f'COCO_{g}_bbox_mAP_copypaste' for g in ('4_3', '4', '3')]
    assert text['COCO_3_bbox_mAP_copypaste'] == ' '.join(
        f'{metrics[f"COCO_3_bbox_mAP_{k}"]:.4f}' for k in ('', '50', '75', 's', 'm', 'l')
    )
    data, detections = make_detections(np.random.default_rng(0), federated=True)
    metrics = GroundTruth(data, CATEGORIES, True).evaluate(detections)
    (line,) = copypaste(metrics).values()
    assert line.startswith(f'AP:{metrics["bbox_AP"]:.4f} AP50:')
    assert line.endswith(f'APf:{metrics["bbox_APf"]:.4f}') and 'AR' not in line


@pytest.mark.parametrize(
    ('names', 'frequencies', 'labels'),
    [
        (['COCO_4_3_bbox_mAP_50'], None, range(7)),
        (['COCO_4_bbox_AR_100'], None, range(4)),
        (['COCO_3_bbox_mAP_'], None, range(4, 7)),
        (['bbox_APr'], 'rcfrcfr', [0, 3, 6]),
        (['bbox_ARc@300', 'bbox_APr'], 'rcfrcfr', [0, 1, 3, 4, 6]),
        (['bbox_APs'], 'rcfrcfr', range(7)),
        (['bbox_AR@300'], 'rcfrcfr', range(7)),
    ],
)
def test_categories_of_a_metric(names: list[str], frequencies: str | None, labels):
    assert labels_of_metrics(names, 'bbox', CATEGORIES, frequencies) == list(labels)
