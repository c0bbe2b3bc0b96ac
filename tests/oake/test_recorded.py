"""Features against values recorded in the repository, for machines without the golden files."""

import json
import pathlib

import pytest
import recorded
import torch
from oake_dataset import CONFIGS


@pytest.mark.parametrize('kind', CONFIGS)
def test_features_equal_recorded_features(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    expected = json.loads(recorded.FILE.read_text())[kind]
    found = recorded.feature_figures(tmp_path, kind)
    assert found.keys() == expected.keys()
    for image_id, record in expected.items():
        assert found[image_id].keys() == record.keys()
        a, b = (torch.tensor(r['embeddings']) for r in (found[image_id], record))
        assert a.shape == b.shape
        if a.numel():
            assert torch.cosine_similarity(a, b, dim=-1).min() > 0.99999
        for key in record.keys() - {'embeddings'}:
            assert found[image_id][key] == record[key]
