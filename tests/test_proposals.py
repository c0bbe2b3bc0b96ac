"""Proposals are ordered by image id, in pixels of the image, on any number of processes."""

import json
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from oadp import proposals
from oadp.data.proposals import load_proposals
from oadp.dp import build_detector
from oadp.dp.engine.checkpoints import load_detector
from oadp.dp.engine.proposals import ImageList, propose
from oadp.mini.dataset import write_dataset
from oadp.utils.config import load_config

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / 'configs/mini/rpn.py'
COUNT = 5


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small dataset with shuffled images, and an untrained detector."""
    path = tmp_path_factory.mktemp('proposals')
    write_dataset(path / 'data/mini', num_train=COUNT, num_val=1)
    annotations = path / 'data/mini/annotations/instances_train.json'
    data = json.loads(annotations.read_text())
    data['images'] = data['images'][::-1]
    (path / 'shuffled.json').write_text(json.dumps(data))
    torch.manual_seed(0)
    detector = build_detector(load_config(CONFIG))
    torch.save(dict(state_dict=detector.state_dict()), path / 'rpn.pth')
    return path


def arguments(out: str, *more: str) -> list[str]:
    return [
        str(CONFIG),
        'rpn.pth',
        '--annotations=shuffled.json',
        '--images=data/mini/train',
        f'--out={out}',
        '--workers=0',
        *more,
    ]


def read(path: pathlib.Path) -> list[np.ndarray]:
    return pickle.loads(path.read_bytes())


def test_proposals_are_in_the_order_of_the_ids(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    proposals.main(arguments('all.pkl'))
    found = read(folder / 'all.pkl')
    images = sorted(json.loads((folder / 'shuffled.json').read_text())['images'], key=_id)
    assert len(found) == COUNT == len(images)
    config = load_config(CONFIG)
    for boxes, image in zip(found, images, strict=True):
        assert boxes.dtype == np.float32 and boxes.shape[1] == 5
        assert 0 < len(boxes) <= config.model.test_cfg.rpn.max_per_img
        assert boxes[:, :4].min() >= 0
        assert (boxes[:, 2] <= image['width']).all() and (boxes[:, 3] <= image['height']).all()
        assert (boxes[:-1, 4] >= boxes[1:, 4]).all()
        # An image gets the same proposals on its own.
        (folder / 'one.json').write_text(json.dumps(dict(images=[image])))
        proposals.main([*arguments('one.pkl'), '--annotations=one.json'])
        np.testing.assert_array_equal(read(folder / 'one.pkl')[0], boxes)


def _id(image: dict) -> int:
    return image['id']


def test_extraction_reads_the_proposals(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    proposals.main(arguments('all.pkl'))
    images = json.loads((folder / 'shuffled.json').read_text())['images']
    sizes = [(image['width'], image['height']) for image in images]
    by_id = load_proposals('all.pkl', [image['id'] for image in images], sizes, True)
    for image_id, boxes in zip(sorted(map(_id, images)), read(folder / 'all.pkl'), strict=True):
        np.testing.assert_array_equal(by_id[image_id], boxes)


def test_boxes_are_in_pixels_of_the_original_image(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    key = '.validator.dataloader.dataset.pipeline[1].img_scale'
    # Anchors in proportion to the image, so that its boxes are as large as at its own size.
    scales = '.model.rpn_head.anchor_generator.scales:[24]'
    proposals.main(arguments('large.pkl', '--override', f'{key}:(528,480)', scales))
    images = sorted(json.loads((folder / 'shuffled.json').read_text())['images'], key=_id)
    for boxes, image in zip(read(folder / 'large.pkl'), images, strict=True):
        assert (boxes[:, 2:4] <= (image['width'], image['height'])).all()
        assert boxes[:, 2:4].max() > image['width'] / 3


@pytest.mark.parametrize('content', [b'', b'x'], ids=['empty', 'not an image'])
def test_an_unreadable_image_is_named(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / 'a.jpg').write_bytes(content)
    images = dict(images=[dict(id=1, file_name='a.jpg', width=9, height=9)])
    (tmp_path / 'list.json').write_text(json.dumps(images))
    pipeline = proposals._test_pipeline(load_config(CONFIG))
    listed = ImageList(tmp_path / 'list.json', tmp_path, pipeline)
    with pytest.raises(ValueError, match='a.jpg: not a readable image'):
        listed[0]


def test_default_folder_is_that_of_the_config(folder: pathlib.Path) -> None:
    config = load_config(CONFIG)
    found = proposals.image_folder(
        config, pathlib.Path('data/mini/annotations/instances_train.64.json')
    )
    assert found == pathlib.Path('data/mini/train')
    with pytest.raises(ValueError, match='--images'):
        proposals.image_folder(config, pathlib.Path('other.json'))


def test_a_dry_run_writes_elsewhere(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv('DRY_RUN', 'True')
    monkeypatch.setattr(proposals, 'DRY_RUN_IMAGES', 2)
    proposals.main(arguments('dry.pkl'))
    assert not (folder / 'dry.pkl').exists()
    assert len(read(folder / 'work_dirs/dry_run/proposals/dry.pkl')) == 2


def test_the_config_for_coco_builds_and_names_its_files() -> None:
    config = load_config(ROOT / 'configs/proposals/rpn_r50_fpn_coco.py')
    detector = build_detector(config)
    assert detector.rpn_head.num_classes == 1
    # It is trained on base boxes only, and nothing is selected on the validation images.
    assert config.trainer.dataloader.dataset.ann_file.endswith('instances_train2017.48.json')
    assert config.trainer.evaluation is None


class _ManyClasses(torch.nn.Module):
    def forward(self, **_) -> list:
        return [[np.zeros((1, 5), np.float32)] * 3]


class _OneClass(torch.nn.Module):
    def forward(self, **_) -> list:
        return [[np.array([[0, 0, 5, 5, 0.1], [1, 1, 9, 9, 0.8]])]]


def test_detectors_without_rpn_must_have_one_class() -> None:
    image = torch.zeros(1, 3, 8, 8)
    found = propose(_OneClass(), image, [{}])
    np.testing.assert_allclose(found, [[1, 1, 9, 9, 0.8], [0, 0, 5, 5, 0.1]], rtol=1e-6)
    with pytest.raises(ValueError, match='3 classes'):
        propose(_ManyClasses(), image, [{}])


def test_a_detector_in_half_precision(folder: pathlib.Path) -> None:
    """All parts compute in fp16, as on a GPU with a config that enables it."""
    detector = load_detector(load_config(CONFIG), folder / 'rpn.pth', torch.device('cpu'))
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    metas = [dict(img_shape=(64, 96, 3), scale_factor=np.ones(4, np.float32))]
    from mmcv.runner import fp16_utils  # after the adapters of oadp.dp

    exact = propose(detector, image, metas)
    fp16_utils.wrap_fp16_model(detector)
    half = propose(detector, image, metas)
    assert half.dtype == np.float32 and np.isfinite(half).all() and half.shape[1] == 5
    assert abs(half[0, 4] - exact[0, 4]) < 0.02


@pytest.mark.slow
@pytest.mark.long  # tests/dp/test_test.py has two processes predict, too
def test_two_processes_write_the_same_file(folder: pathlib.Path) -> None:
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    launchers = (
        [sys.executable],
        [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'],
    )
    for launcher, out in zip(launchers, ('by1.pkl', 'by2.pkl'), strict=True):
        command = [*launcher, '-m', 'oadp.proposals', *arguments(out)]
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=300)
    for one, two in zip(read(folder / 'by1.pkl'), read(folder / 'by2.pkl'), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4)
