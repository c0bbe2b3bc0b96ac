import numpy as np
import supervision as sv

from oadp.categories import Categories
from oadp.data.drawing import BASE_COLOR
from oadp.dp.evaluation import GroundTruth
from oadp.dp.evaluation.error_images import FALSE_COLOR, MISSED_COLOR, draw_errors

CATEGORIES = Categories(bases=('cat', 'dog'), novels=('fox',))
BOXES = {
    'found': (20, 300, 100, 100),
    'confused': (300, 300, 100, 100),
    'missed': (300, 60, 90, 90),
}


def _has(image: np.ndarray, color: sv.Color, xywh: tuple) -> bool:
    """Return whether the left side of a box has the color."""
    x, y, _, h = xywh
    side = image[y + h // 2 : y + h - 5, x - 3 : x + 4].astype(int)
    return bool((np.abs(side - [color.r, color.g, color.b]).sum(-1) < 60).any())


def _draw(federated: bool = False) -> np.ndarray:
    image = dict(id=7, width=500, height=500, neg_category_ids=[], not_exhaustive_category_ids=[])
    data = dict(
        images=[image],
        annotations=[dict(image_id=7, category_id=0, bbox=list(box)) for box in BOXES.values()],
        categories=[dict(id=i, name=n, frequency='f') for i, n in enumerate(CATEGORIES.all_)],
    )
    (x, y, w, h), (x2, y2, w2, h2) = BOXES['found'], BOXES['confused']
    names = np.array(CATEGORIES.all_, dtype=object)
    detections = sv.Detections(
        xyxy=np.array([[x, y, x + w, y + h], [x2, y2, x2 + w2, y2 + h2]], np.float32),
        class_id=np.array([0, 1]),
        confidence=np.array([0.9, 0.8], np.float32),
        data=dict(class_name=names[:2], is_base=np.array([True, True])),
    )
    truth = GroundTruth(data, CATEGORIES, federated)
    return draw_errors(np.zeros((500, 500, 3), np.uint8), detections, truth, 7)


def test_missed_objects_are_green_and_false_detections_red():
    image = _draw()
    assert _has(image, BASE_COLOR, BOXES['found']) and not _has(image, FALSE_COLOR, BOXES['found'])
    assert _has(image, MISSED_COLOR, BOXES['missed'])
    # The object is missed, and the detection on it is false; missed objects are drawn last.
    assert _has(image, MISSED_COLOR, BOXES['confused'])
    assert (np.abs(image.astype(int) - [224, 49, 49]).sum(-1) < 60).any()


def test_detections_of_classes_that_are_not_evaluated_are_not_false():
    image = _draw(federated=True)
    assert not (np.abs(image.astype(int) - [224, 49, 49]).sum(-1) < 60).any()
