import numpy as np
import pytest

from oadp.dp.evaluation import Detections


def _row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_results_of_mmdet_are_converted_to_rows():
    none = np.zeros((0, 5), np.float32)
    mask = dict(size=[4, 4], counts=b'x')
    results = [
        ([none, _row(1, 2, 3, 4, 0.5)], [[], [mask]]),
        ([none, none], [[], []]),
        ([_row(5, 6, 7, 8, 0.25), none], [[mask], []]),
    ]
    found = Detections.from_results([7, 1, 3], results, masks=True)
    assert found.image_ids.tolist() == [7, 3]
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.scores.tolist() == [0.5, 0.25]
    assert found.masks.tolist() == [mask, mask]
    assert Detections.from_results([7, 1, 3], results).masks is None
    assert found.select([1]).masks.tolist() == [mask]


def test_errors():
    none = [np.zeros((0, 5), np.float32)]
    with pytest.raises(ValueError, match='each of 2 images, found 1'):
        Detections.from_results([1, 2], [none])
    with pytest.raises(ValueError, match='this detector gives none'):
        Detections.from_results([1], [none], masks=True)
