"""The detectors reproduce values recorded in the repository, for machines without the golden files."""

import json
import pathlib

import numpy as np
import pytest
import recorded


@pytest.mark.parametrize('name', ['ov_coco', 'ov_lvis'])
def test_detector_reproduces_the_recorded_values(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    expected = json.loads(recorded.FILE.read_text())[name]
    found = recorded.detector_figures(tmp_path, name == 'ov_lvis')
    for step, losses in zip(found['losses'], expected['losses'], strict=True):
        assert step == pytest.approx(losses, rel=1e-4, abs=1e-7)
    assert found['gradient_norms'] == pytest.approx(expected['gradient_norms'], rel=2e-3, abs=1e-6)
    a, b = (np.array(sorted(f['detections'])) for f in (found, expected))
    assert a.shape == b.shape
    np.testing.assert_allclose(a[:, :5], b[:, :5], atol=0.01)  # label and box in pixels
    np.testing.assert_allclose(a[:, 5], b[:, 5], atol=1e-4)
