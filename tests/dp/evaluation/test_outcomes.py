"""Known corruptions of the ground truth are counted correctly."""

import numpy as np
import pytest

from oadp.categories import Categories
from oadp.dp.evaluation import Detections, GroundTruth
from oadp.dp.evaluation.analysis import analyze
from oadp.dp.evaluation.outcomes import OUTCOMES

CATEGORIES = Categories(bases=('cat', 'dog', 'cow'), novels=('fox', 'owl'))
BASE, NOVEL = range(3), range(3, 5)
SIDE = 40  # pixels; objects are placed on a grid of twice this size, so that they do not overlap


class Planter:
    """Add objects with one corruption each."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.annotations: list[dict] = []
        self.rows: list[tuple] = []
        self.proposals: dict[int, list] = {i: [] for i in range(10)}
        self.counts = {g: dict.fromkeys(OUTCOMES, 0) for g in ('novel', 'base')}
        self.called = {g: [0, 0, 0] for g in ('novel', 'base')}
        self.confused: dict[tuple[str, str], int] = {}

    def plant(self, outcome: str, label: int, other: int | None = None) -> None:
        index = len(self.annotations)
        image, place = index % 10, index // 10
        x, y = 2.0 * SIDE * (place % 8), 2.0 * SIDE * (place // 8)
        self.annotations.append(
            dict(id=index, image_id=image, category_id=label, bbox=[x, y, SIDE, SIDE],
                 area=float(SIDE**2), iscrowd=0)
        )  # fmt: skip
        box, score = [x, y, x + SIDE, y + SIDE], float(self.rng.uniform(0.1, 0.8))
        # A box that is moved by a fraction x of its side has an IoU of (1 − x) / (1 + x): 0.25, 0.05.
        near, far = ([x + d * SIDE, y, x + SIDE * (1 + d), y + SIDE] for d in (0.6, 0.9))
        if outcome != 'never proposed':
            self.proposals[image].append([*box, 1.0])
        found = {
            'never proposed': [(far, label, score)],
            'called base': [(box, other, score), (near, label, 0.9)],
            'called novel': [(box, other, score)],
            'poorly localized': [(near, label, score), (far, label, score)],
            'missed': [(far, label, score)] if index % 2 else [],
            'outscored': [(box, label, score), (box, other, score + 0.1)],
            'found': [(box, label, score), (box, label, score / 2)],
        }[outcome]
        self.rows += [(image, lab, *b, s) for b, lab, s in found]
        group = 'novel' if label in NOVEL else 'base'
        self.counts[group][outcome] += 1
        if outcome == 'found':
            self.called[group][2] += 1
        elif other is not None:
            self.called[group][int(other in NOVEL)] += 1
            names = CATEGORIES.all_[label], CATEGORIES.all_[other]
            self.confused[names] = self.confused.get(names, 0) + 1

    def inputs(self) -> tuple[GroundTruth, Detections]:
        names = [dict(id=i, name=name) for i, name in enumerate(CATEGORIES.all_)]
        images = [dict(id=i, width=700, height=700) for i in range(10)]
        data = dict(images=images, annotations=self.annotations, categories=names)
        table = np.array(self.rows)[self.rng.permutation(len(self.rows))]
        detections = Detections(
            table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:6], table[:, 6]
        )
        return GroundTruth(data, CATEGORIES), detections


@pytest.fixture(scope='module')
def planted() -> Planter:
    planter = Planter()
    for label in (*BASE, *NOVEL):
        others = dict(base=[x for x in BASE if x != label], novel=[x for x in NOVEL if x != label])
        for k in range(3 + label):
            planter.plant('never proposed', label)
            planter.plant('called base', label, others['base'][k % 2])
            planter.plant('poorly localized', label)
            planter.plant('found', label)
            if k % 2:
                planter.plant('called novel', label, others['novel'][0])
                planter.plant('outscored', label, others['base'][0])
                planter.plant('missed', label)
    return planter


def test_planted_errors_are_counted(planted: Planter):
    truth, detections = planted.inputs()
    proposals = {i: np.array(p, np.float32) for i, p in planted.proposals.items()}
    analysis = analyze(truth, detections, proposals)
    assert analysis.outcomes == planted.counts
    assert {g: list(c) for g, c in analysis.called.items()} == planted.called
    assert {(c.true, c.called): c.objects for c in analysis.confusions} == planted.confused
    for group, counts in planted.counts.items():
        assert analysis.objects[group] == sum(counts.values())
        assert all(counts.values())


def test_without_proposals_objects_are_missed(planted: Planter):
    analysis = analyze(*planted.inputs())
    for group, counts in planted.counts.items():
        got = analysis.outcomes[group]
        assert got['never proposed'] == 0
        assert got['missed'] == counts['missed'] + counts['never proposed']


def test_weight_of_a_confusion_is_its_cost_in_recall(planted: Planter):
    analysis = analyze(*planted.inputs())
    for c in analysis.confusions:
        label = CATEGORIES.all_.index(c.true)
        objects = sum(a['category_id'] == label for a in planted.annotations)
        assert c.weight == pytest.approx(c.objects / objects / len(NOVEL if c.is_novel else BASE))
    novel = [c.weight for c in analysis.confusions if c.is_novel]
    assert novel == sorted(novel, reverse=True)


def test_planted_errors_have_their_type_and_cost(planted: Planter):
    """Duplicates have no cost, as their scores are below those of the true positives."""
    analysis = analyze(*planted.inputs())
    total = {k: sum(counts[k] for counts in planted.counts.values()) for k in OUTCOMES}
    assert analysis.error_counts['Dupe'] == total['found']
    assert analysis.error_counts['Cls'] == (
        total['called base'] + total['called novel'] + total['outscored']
    )
    assert analysis.error_counts['Loc'] == total['called base'] + total['poorly localized']
    assert analysis.error_counts['Miss'] == total['missed'] + total['never proposed']
    costs = analysis.costs
    assert costs['novel']['Cls'] > costs['novel']['Both'] == 0
    for error in ('AP50', 'Cls', 'Loc', 'Miss'):
        mean = (3 * costs['base'][error] + 2 * costs['novel'][error]) / 5
        assert costs['all'][error] == pytest.approx(mean)


def test_no_detections():
    truth, detections = _one_object()
    analysis = analyze(truth, detections.select([]))
    assert analysis.outcomes['base']['missed'] == 1 and analysis.objects['novel'] == 0
    assert analysis.costs['base']['Miss'] == 0  # without detections, AP stays 0
    assert analysis.calibration['base']['ece'] == 0


def test_shared_detection_is_not_a_confusion():
    """With one detection on two identical objects, the second object is poorly localised."""
    truth, detections = _one_object(copies=2)
    analysis = analyze(truth, detections)
    assert analysis.outcomes['base']['found'] == analysis.outcomes['base']['poorly localized'] == 1
    assert analysis.confusions == []


def _one_object(copies: int = 1) -> tuple[GroundTruth, Detections]:
    data = dict(
        images=[dict(id=1, width=99, height=99)],
        annotations=[dict(image_id=1, category_id=0, bbox=[0, 0, 50, 50])] * copies,
        categories=[dict(id=i, name=name) for i, name in enumerate(CATEGORIES.all_)],
    )
    one = Detections(np.array([1]), np.array([0]), np.array([[0, 0, 50, 50.0]]), np.array([0.5]))
    return GroundTruth(data, CATEGORIES), one
