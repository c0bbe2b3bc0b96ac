"""The search on the records of a detector gives the metrics of a test of the detector."""

import json
import pathlib
import shutil
import types

import numpy as np
import pytest
import torch

from oadp.categories import get_categories
from oadp.dp import build_dataset
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.checkpoints import load_detector
from oadp.dp.engine.predict import predict
from oadp.dp.fusion.record_dataset import dump_dataset
from oadp.dp.fusion.records import Dump
from oadp.dp.fusion.scores import FusionParameters
from oadp.dp.fusion.setting import open_search
from oadp.utils.config import load_config
from oadp.utils.runtime import ProcessInfo

ALONE = ProcessInfo(rank=0, local_rank=0, size=1, device=torch.device('cpu'))
CHANGED = FusionParameters(
    bbox_novel_gamma=0.7, object_novel_gamma=0.3, object_base_scaler=0.5, objectness_gamma=0.6
)
POINT = 0.05 / 100  # the tolerance, in AP


def detect(case):
    loader = build_val_loader(case.dataset, case.config.validator.dataloader, ALONE)
    results = predict(case.detector, loader, ALONE)
    return [r[0] if isinstance(r, tuple) else r for r in results]  # masks are not evaluated


@pytest.fixture(params=['oadp_ov_coco', pytest.param('oadp_ov_lvis', marks=pytest.mark.slow)])
def case(request, thin, golden, tmp_path):
    """A detector with the recorded weights, on images whose objects are some of its detections.

    Its weights are random, so the true objects would give an AP of 0 under any setting.
    """
    name = request.param
    file = 'lvis_v1/lvis_v1_val.1203' if 'lvis' in name else 'coco/instances_val2017.65.min'
    source = golden / f'expected/annotations/{file}.json'
    ann_file = tmp_path / 'instances.json'
    data = json.loads(source.read_text())
    ann_file.write_text(json.dumps(data))
    overrides = {
        '.validator.dataloader.workers_per_gpu': 0,
        '.validator.dataloader.dataset.ann_file': str(ann_file),
        '.validator.dataloader.dataset.img_prefix': 'data/coco/'
        if 'lvis' in name
        else 'data/coco/val2017/',
    }
    case = types.SimpleNamespace(checkpoint=thin / f'{name}.pth', dump=tmp_path / 'dump')
    case.config = load_config(thin / f'{name}.py', overrides)
    case.detector = load_detector(case.config, case.checkpoint, ALONE.device)
    case.dataset = build_dataset(case.config, 'val')
    case.results = detect(case)
    data['annotations'] = make_objects(case)
    for image in data['images'] if 'lvis' in name else ():
        present = {a['category_id'] for a in data['annotations'] if a['image_id'] == image['id']}
        image['neg_category_ids'] = sorted({*range(0, 1203, 5)} - present)
        image['not_exhaustive_category_ids'] = []
    ann_file.write_text(json.dumps(data))
    case.dataset = build_dataset(case.config, 'val')
    return case


def make_objects(case) -> list[dict]:
    """Return some detections with high and medium scores, slightly shifted."""
    rng = np.random.default_rng(0)
    annotations = []
    for info, result in zip(case.dataset.data_infos, case.results, strict=True):
        labels = np.concatenate([np.full(len(b), label) for label, b in enumerate(result)])
        boxes = np.concatenate(result)
        for i in rng.choice(np.argsort(-boxes[:, 4])[:80], 25, replace=False):
            x1, y1, x2, y2 = boxes[i, :4].tolist()
            w, h = x2 - x1, y2 - y1
            x1 += 0.1 * w * float(rng.standard_normal())
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=info['id'],
                    category_id=int(labels[i]),
                    bbox=[x1, y1, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x1, y1, x2, y1, x2, y2]],
                )
            )
    return annotations


def test_search_reproduces_the_test(case):
    dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)
    search, ground_truth = open_search(case.config, case.dump)
    objective = ground_truth.metric()
    figures = {}
    for parameters in (FusionParameters(), CHANGED):
        got = search.evaluate(parameters)
        case.detector.roi_head.fusion = parameters  # as `oadp.dp.test --fusion` does
        want = case.dataset.evaluate(detect(case), metric=['bbox'])
        # the summary of lvis-api is rounded to three digits
        rounding = 5e-4 if 'lvis' in case.checkpoint.name else 0
        assert got == pytest.approx({k: float(want[k]) for k in got}, abs=POINT + rounding)
        figures[parameters] = got[objective]
    assert figures[FusionParameters()] > 0.1
    assert abs(figures[FusionParameters()] - figures[CHANGED]) > 0.01


@pytest.mark.parametrize('case', ['oadp_ov_coco'], indirect=True)
def test_resumes(case):
    def dump():
        dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)
        return {p.name: p.stat().st_mtime_ns for p in case.dump.glob('*.npy')}

    first = dump()
    ids = Dump(case.dump).image_ids()
    assert ids == sorted(info['id'] for info in case.dataset.data_infos)
    removed = f'{ids[1]:012d}.npy'
    (case.dump / removed).unlink()
    second = dump()
    assert {name for name in first if first[name] != second[name]} == {removed}

    assert Dump(case.dump).meta.categories == get_categories(case.config.categories)
    case.config.model.roi_head.fusion = dict(objectness_gamma=0.5)  # applied after the records
    case.config.model.distiller = None
    dump()


@pytest.mark.parametrize('case', ['oadp_ov_coco'], indirect=True)
@pytest.mark.parametrize('change', ['proposals', 'temperature', 'prompts'])
def test_a_dump_of_another_detector_is_not_resumed(case, change: str, tmp_path: pathlib.Path):
    model = case.config.model
    classifier = model.roi_head.bbox_head.cls_predictor_cfg
    prompts = pathlib.Path(shutil.copy(classifier.prompts, tmp_path))
    classifier.prompts = str(prompts)
    dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)
    if change == 'proposals':
        model.test_cfg.rpn.max_per_img = 7
    elif change == 'temperature':
        classifier.scaler.val = 0.02
    else:
        prompts.write_bytes(prompts.read_bytes() + b'0')
    with pytest.raises(ValueError, match='records of another run.*source'):
        dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)


@pytest.mark.parametrize('case', ['oadp_ov_coco'], indirect=True)
def test_dry_run_writes_to_its_own_folder(case, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)
    assert not (case.dump / 'meta.json').exists()
    search, ground_truth = open_search(case.config, case.dump)
    assert search.evaluate(FusionParameters())
    assert len(ground_truth.image_ids) == 5


@pytest.mark.parametrize('case', ['oadp_ov_coco'], indirect=True)
def test_detector_without_object_head_is_an_error(case):
    case.detector.roi_head._object_head = None
    with pytest.raises(ValueError, match='no object head'):
        dump_dataset(case.detector, case.config, case.checkpoint, case.dataset, case.dump, ALONE)
