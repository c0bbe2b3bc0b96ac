"""ONNX Runtime detects what torch detects, in any vocabulary, and without torch."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import PIL.Image
import pytest
import torch
from conftest import ROOT

from oadp import Detector, export
from oadp.dp import build_detector
from oadp.inference.detector import View
from oadp.inference.onnx_detector import OnnxDetector
from oadp.inference.onnx_export import export_detector
from oadp.inference.preprocessing import Preprocessing
from oadp.inference.torch_detector import TorchDetector
from oadp.utils.config import load_config, to_plain

NAMES = ('oadp_ov_coco', 'vild_ov_coco', 'oadp_ov_lvis')
SIZES_WH = ((320, 240), (150, 333), (97, 101))
IMAGE = 'data/coco/val2017/000000440669.jpg'


@functools.cache
def pair(name: str, exported: pathlib.Path) -> tuple[OnnxDetector, TorchDetector]:
    """A recorded detector, by both engines. Shared: tests give it no vocabulary."""
    torch_detector = Detector.from_checkpoint(f'{name}.py', f'{name}.pth', device='cpu')
    return Detector.from_onnx(exported / f'{name}.onnx', device='cpu', threads=1), torch_detector


def with_random_words(detector: Detector, count: int) -> Detector:
    """The detector with ``count`` names whose embeddings are drawn, the same for any detector."""
    rng = np.random.default_rng(count)
    is_base = rng.random(count) < 0.5
    shapes = [rows.embeddings.shape[1] for rows in detector._rows]
    matrices = [rng.standard_normal((count, d), dtype=np.float32) for d in shapes]
    matrices = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in matrices]
    names = tuple(f'word {i}' for i in range(count))
    other = detector.with_vocabulary(None)
    other._view = View(names, is_base, other._bind(names, is_base, matrices))
    return other


def image(size_wh: tuple[int, int]) -> np.ndarray:
    return np.asarray(PIL.Image.open(IMAGE).convert('RGB').resize(size_wh))


def match(found, expected) -> None:
    """The same detections, in any order among those whose scores are tied."""
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    same = (
        (np.abs(found.xyxy[:, None] - expected.xyxy[None]).max(-1) < 0.01)
        & (np.abs(found.confidence[:, None] - expected.confidence[None]) < 1e-4)
        & (found.class_id[:, None] == expected.class_id[None])
    )
    # The last of the list may be another of the same score.
    is_last = np.abs(expected.confidence - expected.confidence[-1]) < 1e-6
    assert (same.any(0) | is_last).all()
    if expected.mask is not None:
        partner = same.argmax(0)[same.any(0)]
        masks = expected.mask[same.any(0)]
        assert (found.mask[partner] != masks).sum() <= 1e-6 * masks.size


@pytest.mark.parametrize('count', [1, 5, 65, 1203])
@pytest.mark.parametrize('name', NAMES)
def test_any_vocabulary_and_size(thin, exported, name, count):
    detectors = pair(name, exported)
    found, expected = (with_random_words(d, count) for d in detectors)
    limit = 40 if name == 'oadp_ov_lvis' else None  # torch takes its time for masks
    for size_wh in SIZES_WH:
        match(found(image(size_wh), 0, limit), expected(image(size_wh), 0, limit))


@pytest.mark.parametrize('name', NAMES)
def test_own_classes_and_words(thin, exported, name):
    onnx_detector, torch_detector = pair(name, exported)
    assert onnx_detector.names == torch_detector.names
    assert np.array_equal(onnx_detector.is_base, torch_detector.is_base)
    match(onnx_detector(IMAGE, 0, 40), torch_detector(IMAGE, 0, 40))
    words = ['red kite', 'Person', 'cat', 'mug']
    found, expected = (
        d.with_vocabulary(words)(IMAGE, 0, 40) for d in (onnx_detector, torch_detector)
    )
    match(found, expected)
    assert set(found.data['class_name']) <= set(words)
    assert np.array_equal(found.data['is_base'], expected.data['is_base'])


@pytest.mark.parametrize('name', ['oadp', 'none'])  # with and without an object head
def test_the_demo_s_detectors(tmp_path, name):
    """Other strides, sizes, embeddings and padding than those of the full detectors; random weights."""
    bases, novels = ('star', 'heart', 'house'), ('key', 'moth')
    categories = tmp_path / 'categories.json'
    categories.write_text(json.dumps({'bases': bases, 'novels': novels}))
    torch.manual_seed(0)
    prompts = {
        'names': [*bases, *novels],
        'embeddings': torch.nn.functional.normalize(torch.randn(5, 64), dim=1),
    }
    torch.save(prompts, tmp_path / 'vild.pth')
    config = to_plain(load_config(ROOT / f'configs/mini/{name}.py'))
    config['categories'] = str(categories)
    nodes = [config['model']]
    while nodes:
        node = nodes.pop()
        if 'prompts' in node:
            node['prompts'] = str(tmp_path / 'vild.pth')
        nodes += [child for child in node.values() if isinstance(child, dict)]
    torch.save(build_detector(config).state_dict(), tmp_path / 'model.pth')
    expected = Detector.from_checkpoint(config, tmp_path / 'model.pth', device='cpu')
    pipeline = config['validator']['dataloader']['dataset']['pipeline']
    preprocessing = Preprocessing.from_pipeline(pipeline)
    export_detector(expected, preprocessing, tmp_path / 'model.onnx')
    found = Detector.from_onnx(tmp_path / 'model.onnx', device='cpu', threads=1)
    rng = np.random.default_rng(0)
    for h, w in ((160, 200), (333, 97)):
        pixels = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        match(found(pixels), expected(pixels))


def test_limits_cut_the_list(thin, exported):
    detector = Detector.from_onnx(exported / 'oadp_ov_lvis.onnx', threads=1)
    everything = detector(IMAGE)
    threshold = float(everything.confidence[20])
    assert len(detector(IMAGE, threshold)) == (everything.confidence > threshold).sum()
    assert np.array_equal(detector(IMAGE, max_detections=7).xyxy, everything.xyxy[:7])
    height, width = np.asarray(PIL.Image.open(IMAGE)).shape[:2]
    nothing = detector(IMAGE, 1.0)
    assert nothing.xyxy.shape == (0, 4) and nothing.mask.shape == (0, height, width)


def test_half_precision(thin, exported, tmp_path):
    half, full = tmp_path / 'half.onnx', exported / 'vild_ov_coco.onnx'
    export.main(['vild_ov_coco.py', 'vild_ov_coco.pth', str(half), '--fp16'])
    assert half.stat().st_size < 0.6 * full.stat().st_size
    found, expected = (Detector.from_onnx(p, threads=1)(IMAGE) for p in (half, full))
    expected = expected[:50]
    # Detections whose scores are close change places, so each is looked for among all.
    gap = np.abs(found.xyxy[:, None] - expected.xyxy[None]).max(-1)
    score = np.abs(found.confidence[:, None] - expected.confidence[None])
    label = found.class_id[:, None] == expected.class_id[None]
    assert ((gap < 2) & (score < 0.01) & label).any(0).mean() > 0.9


def test_runs_without_torch(thin, exported):
    code = (
        'import sys; from oadp import Detector; d = Detector.from_onnx(sys.argv[1], threads=1);'
        "d.set_vocabulary(['red kite', 'zebra crossing']); found = d(sys.argv[2], 0);"
        "print(len(found) > 0, sorted({'torch', 'mmcv', 'mmdet', 'clip', 'todd'} & set(sys.modules)))"
    )
    argv = [sys.executable, '-c', code, str(exported / 'oadp_ov_coco.onnx'), IMAGE]
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    out = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == 'True []'


def test_operators_are_onnx_s(exported):
    """No custom operator, one file: any runtime can load it."""
    model = onnx.load(exported / 'oadp_ov_coco.onnx')
    assert {o.domain for o in model.opset_import} == {''}
    operators = {node.op_type for node in _nodes(model.graph)}
    assert {'RoiAlign', 'NonMaxSuppression'} <= operators
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in model.graph.input
    }
    assert shapes == {
        'image': [1, 3, 'height', 'width'],
        'bbox_embeddings': ['names', 512],
        'object_embeddings': ['names', 512],
        'is_base': ['names'],
    }
    assert [o.name for o in model.graph.output] == ['boxes', 'scores', 'labels']


def _nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField('g'):
                yield from _nodes(attribute.g)


def test_the_files_suffice_for_another_program(thin, exported):
    """The vocabulary file's arrays are the graph's inputs, by name."""
    session = onnxruntime.InferenceSession(exported / 'oadp_ov_coco.onnx')
    with np.load(exported / 'oadp_ov_coco.vocabulary.npz') as vocabulary:
        inputs = {i.name: vocabulary[i.name] for i in session.get_inputs()[1:]}
        names = vocabulary['names'].tolist()
    detector = Detector.from_onnx(exported / 'oadp_ov_coco.onnx')
    assert tuple(names) == detector.names
    prepared, scale = detector._preprocessing(image((288, 192)))
    boxes, scores, labels = session.run(None, {'image': prepared, **inputs})
    found = detector(image((288, 192)))
    assert np.array_equal(boxes / scale, found.xyxy) and np.array_equal(labels, found.class_id)
    assert np.array_equal(scores, found.confidence)


def test_new_words_without_a_text_encoder_ask_for_clip(thin, exported, tmp_path):
    detector = Detector.from_onnx(
        exported / 'vild_ov_coco.onnx', clip=tmp_path / 'none.pt', cache=tmp_path
    )
    detector.set_vocabulary(['cat', 'mug'])
    with pytest.raises(FileNotFoundError, match='none.pt'):
        detector.set_vocabulary(['zebra crossing'])
    own = Detector.from_onnx(exported / 'vild_ov_coco.onnx', cache=tmp_path)
    row = own._rows[0].matrix(['zebra crossing'], own._embed)  # by CLIP, where the config says
    assert row.shape == (1, 512) and np.isfinite(row).all()


@pytest.mark.parametrize(
    'name, change, error, message',
    [
        ('x.onnx', None, FileNotFoundError, 'x.onnx: no such ONNX file'),
        ('text.onnx', None, ValueError, 'expected a detector, found a text encoder'),
        ('broken.onnx', b'not ONNX', ValueError, 'broken.onnx: ONNX Runtime cannot load it'),
        ('alone.onnx', None, FileNotFoundError, 'alone.vocabulary.npz: no such vocabulary'),
        ('b.onnx', b'no archive', ValueError, 'b.vocabulary.npz: expected a vocabulary file'),
        ('two.onnx', None, ValueError, 'two.*not exported together'),
    ],
)
def test_refuses(exported, tmp_path, name, change, error, message):
    path = tmp_path / name
    if name == 'text.onnx':
        shutil.copy(exported / 'oadp_ov_coco.text.onnx', path)
    elif name == 'broken.onnx':
        path.write_bytes(change)
    elif name != 'x.onnx':
        shutil.copy(exported / 'vild_ov_coco.onnx', path)
    if name == 'b.onnx':
        path.with_suffix('.vocabulary.npz').write_bytes(change)
    if name == 'two.onnx':
        with np.load(exported / 'vild_ov_coco.vocabulary.npz') as data:
            arrays = {k: data[k][:, :7] if data[k].ndim == 2 else data[k] for k in data.files}
        np.savez(path.with_suffix('.vocabulary.npz'), **arrays)
    with pytest.raises(error, match=message):
        Detector.from_onnx(path, device='cpu')


def test_other_onnx_files_are_refused(tmp_path):
    path = tmp_path / 'other.onnx'
    tensor = onnx.helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node('Relu', ['x'], ['y'])
    graph = onnx.helper.make_graph([node], 'g', [tensor], [result])
    opset = [onnx.helper.make_opsetid('', 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(ValueError, match='expected a file of oadp.export'):
        Detector.from_onnx(path)


def test_unavailable_device(exported):
    with pytest.raises(ValueError, match="device 'tpu'.*expected cpu"):
        Detector.from_onnx(exported / 'vild_ov_coco.onnx', device='tpu')


def test_says_what_to_install(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r'pip install -e .\[export\]'):
        Detector.from_onnx(exported / 'vild_ov_coco.onnx')


def test_masks_are_pasted_as_by_mmdet():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    from oadp.inference.masks import paste_masks

    rng = np.random.default_rng(0)
    masks = rng.random((6, 28, 28), dtype=np.float32)
    xyxy = np.float32(
        [
            [3.3, 4.7, 40, 31],
            [0, 0, 60, 45],
            [9, 9, 9.4, 30],
            [50, 40, 60, 45],
            [7, 7, 7, 9],
            [1, 1, 2, 2],
        ]
    )
    values = np.zeros((6, 45, 60), dtype=np.float32)
    for i, (mask, box) in enumerate(
        zip(torch.from_numpy(masks), torch.from_numpy(xyxy), strict=True)
    ):
        value, region = _do_paste_mask(mask[None, None], box[None], 45, 60)
        values[(i, *region)] = value[0]
    clear = np.abs(values - 0.5) > 1e-5
    pasted = paste_masks(masks, xyxy, (45, 60), 0.5)
    assert pasted.shape == (6, 45, 60) and pasted.any()
    assert np.array_equal(pasted[clear], (values >= 0.5)[clear])
