"""Preparation by OpenCV alone gives the bits of mmdet's pipeline."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from oadp.inference.preprocessing import Preprocessing
from oadp.inference.torch_detector import _from_memory
from oadp.utils.config import load_config, to_plain


def pipeline(**normalize) -> list[dict]:
    config = to_plain(load_config('configs/dp/oadp_ov_coco.py'))
    steps = config['validator']['dataloader']['dataset']['pipeline']
    steps[1]['transforms'][2].update(normalize)
    return steps


@pytest.fixture(autouse=True)
def _in_root(monkeypatch):
    from conftest import ROOT

    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('size_hw', [(480, 640), (600, 333), (50, 51), (2000, 900)])
def test_equal_to_mmdet_bit_for_bit(to_rgb, size_hw):
    from mmdet.datasets.pipelines import Compose

    steps = pipeline(to_rgb=to_rgb, mean=[103.53, 116.28, 123.675], std=[1.1, 57.12, 58.395])
    steps[1]['img_scale'] = (400, 240)
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    data = Compose(_from_memory(steps))({'img': np.ascontiguousarray(image[..., ::-1])})
    [expected], [meta] = data['img'], data['img_metas']
    expected = expected.data
    preprocessing = Preprocessing.from_pipeline(steps)
    again = Preprocessing.from_dict(json.loads(json.dumps(dataclasses.asdict(preprocessing))))
    assert again == preprocessing
    found, scale = again(image)
    assert found.dtype == scale.dtype == np.float32
    _, _, h, w = found.shape
    assert (h, w, 3) == meta.data['img_shape']
    assert np.array_equal(found[0], expected.numpy()[:, :h, :w])
    assert np.array_equal(scale, meta.data['scale_factor'])
    padded = (h + 31) // 32 * 32, (w + 31) // 32 * 32
    assert expected.shape[1:] == padded and not expected[:, h:].any()


def test_size_can_be_chosen():
    assert Preprocessing.from_pipeline(pipeline()).size == (1333, 800)
    chosen = Preprocessing.from_pipeline(pipeline(), (320, 640))
    assert chosen.size == (640, 320)
    assert chosen(np.zeros((100, 100, 3), np.uint8))[0].shape == (1, 3, 320, 320)


def test_narrow_image():
    with pytest.raises(ValueError, match='5000 × 1 pixels is too narrow'):
        Preprocessing.from_pipeline(pipeline())(np.zeros((1, 5000, 3), np.uint8))


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(lambda s: s[1].update(flip=True), id='flip'),
        pytest.param(lambda s: s[1].update(img_scale=[(1, 2), (3, 4)]), id='two scales'),
        pytest.param(lambda s: s[1]['transforms'][0].update(keep_ratio=False), id='ratio'),
        pytest.param(lambda s: s[1]['transforms'][0].update(backend='pillow'), id='backend'),
        pytest.param(lambda s: s[1]['transforms'][3].update(pad_val=1), id='padding'),
        pytest.param(lambda s: s[1]['transforms'].pop(2), id='no Normalize'),
        pytest.param(lambda s: s.pop(), id='no augmentation'),
        pytest.param(lambda s: s[0].update(to_float32=True), id='floats'),
    ],
)
def test_other_pipelines_are_refused(change):
    steps = copy.deepcopy(pipeline())
    change(steps)
    with pytest.raises(ValueError, match='expected a test pipeline of LoadImageFromFile'):
        Preprocessing.from_pipeline(steps)
