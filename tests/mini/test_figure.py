"""The figure of the embedded benchmark: which images and detections it shows."""

import numpy as np
import supervision as sv

from oadp.mini.figure import select_best, select_most_varied


def test_one_detection_per_object():
    detections = sv.Detections(
        xyxy=np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [40, 0, 50, 9]], float),
        confidence=np.array([0.5, 0.9, 0.3, 0.1]),
        class_id=np.array([0, 1, 2, 0]),
    )
    found = select_best(detections, 2)
    assert found.class_id.tolist() == [1, 2], (
        'of two classes on one object, the one with the lower score was kept'
    )
    assert found.confidence.tolist() == [0.9, 0.3]
    assert len(select_best(detections, 9)) == 3


def test_images_are_chosen_for_their_classes():
    classes = [{1}, {1, 2}, set(), {3, 4, 5}, {2, 3}]
    assert select_most_varied(classes, 1) == [3]
    assert select_most_varied(classes, 2) == [1, 3]
    assert select_most_varied(classes, 3) == [0, 1, 3]
    assert select_most_varied(classes, 9) == [0, 1, 2, 3, 4]
