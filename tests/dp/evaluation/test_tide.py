"""TIDE is compared with hotcoco's implementation, which averages over all classes."""

import hotcoco
import numpy as np
import pytest
from random_detections import CATEGORIES, make_detections

from oadp.dp.evaluation import GroundTruth
from oadp.dp.evaluation.matching import match
from oadp.dp.evaluation.tide import ERRORS, average_precisions, error_costs


@pytest.mark.parametrize('federated', [False, True])
def test_equals_hotcoco(federated: bool):
    data, detections = make_detections(np.random.default_rng(0), federated=federated)
    for annotation in data['annotations']:
        annotation.update(iscrowd=0, area=annotation['bbox'][2] * annotation['bbox'][3])
    order = np.random.default_rng(1).permutation(len(detections.scores))
    detections = detections._replace(scores=order / len(order))  # without ties
    truth = GroundTruth(data, CATEGORIES, federated)
    costs, counts = error_costs(match(truth, detections))

    index = truth._index('bbox')
    reference = hotcoco.COCOeval(
        index, truth._load(index, detections, 'bbox'), 'bbox', lvis_style=federated
    )
    reference.params.max_dets = list(truth.limits)
    reference.evaluate()
    want = reference.tide_errors()
    assert counts == want['counts']
    assert costs['all']['AP50'] == pytest.approx(want['ap_base'], abs=1e-9)
    # Where objects overlap, it is not defined to which of them a wrong detection is corrected, which
    # changes Cls and Loc slightly.
    for error in ERRORS:
        tolerance = 5e-3 if error in ('Cls', 'Loc') else 1e-9
        assert costs['all'][error] == pytest.approx(want['delta_ap'][error], abs=tolerance), error


@pytest.mark.parametrize('group', ['base', 'novel'])
def test_average_precision_equals_that_of_the_evaluator(group: str):
    data, detections = make_detections(np.random.default_rng(2))
    truth = GroundTruth(data, CATEGORIES)
    costs, _ = error_costs(match(truth, detections))
    want = truth.evaluate(detections)[truth.metric(f'{group}_AP50')]
    assert costs[group]['AP50'] == pytest.approx(want, abs=1e-9)


def test_average_precision_of_three_detections():
    """True, false, true positive of two objects: the precision is 1 up to recall 0.5, then 2/3."""
    got = average_precisions(
        np.zeros(3, int), np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), np.array([2, 0])
    )
    assert got[0] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert np.isnan(got[1])
