"""Conversion of DetPro's tensor to a prompt file."""

import json

import pytest
import torch

from oadp.categories import get_categories
from oadp.prompts import detpro


def test_equals_the_recorded_file(golden_workdir, golden):
    detpro.main([])
    mine = torch.load('data/prompts/detpro_lvis.pth')
    expected = torch.load(golden / 'expected/prompts/detpro_lvis.pth')
    assert mine['names'] == expected['names']
    assert torch.allclose(mine['embeddings'], expected['embeddings'], atol=1e-6)


def test_names_are_in_the_order_of_the_lvis_ids(golden):
    path = golden / 'world/data/lvis_v1/annotations/lvis_v1_val.json'
    categories = json.loads(path.read_text())['categories']
    by_id = sorted(categories, key=lambda c: c['id'])
    assert detpro.lvis_names() == [c['name'] for c in by_id]
    assert set(detpro.lvis_names()) == set(get_categories('lvis').all_)


def test_rows_are_normalized(tmp_path):
    torch.save(torch.full((1203, 4), 3.0), tmp_path / 'x.pth')
    assert torch.allclose(detpro.read_detpro(tmp_path / 'x.pth'), torch.full((1203, 4), 0.5))


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        (torch.zeros(1204, 512), r'\(1204, 512\)'),
        (torch.zeros(1203), r'\(1203,\)'),
        ({'embeddings': torch.zeros(1203, 512)}, 'dict'),
    ],
)
def test_other_content(content, found, tmp_path):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=f'each of the 1203 classes of LVIS, found {found}'):
        detpro.read_detpro(tmp_path / 'x.pth')


def test_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='iou_neg5_ens.pth: .*Pretrained Models'):
        detpro.main([])
    assert not (tmp_path / 'data').exists()


def test_dry_run_writes_to_its_own_folder(golden_workdir, monkeypatch):
    monkeypatch.setenv('DRY_RUN', '1')
    detpro.main([])
    assert (golden_workdir / 'work_dirs/dry_run/prompts/detpro_lvis.pth').is_file()
    assert not (golden_workdir / 'data/prompts/detpro_lvis.pth').exists()
