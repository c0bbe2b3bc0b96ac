"""The Python interface detects what the evaluated model detects, in any words."""

import concurrent.futures
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch

from oadp import Detector
from oadp.categories import get_categories
from oadp.data.images import read_image
from oadp.inference.text_embedder import TextEmbedder

NAMES = ('oadp_ov_coco', 'vild_ov_coco', 'oadp_ov_lvis')
IMAGE = 'data/coco/val2017/000000440669.jpg'


def load(name: str) -> Detector:
    return Detector.from_checkpoint(f'{name}.py', f'{name}.pth', device='cpu')


@pytest.fixture
def detector(thin: pathlib.Path) -> Detector:
    return load('oadp_ov_coco')


def same(a, b) -> bool:
    pairs = [(a.xyxy, b.xyxy), (a.confidence, b.confidence), (a.class_id, b.class_id)]
    pairs += [(a.data[k], b.data[k]) for k in ('class_name', 'is_base')]
    if a.mask is not None:
        pairs.append((a.mask, b.mask))
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in pairs)


def test_import_has_no_side_effects():
    code = 'import sys, oadp; print(oadp.__version__, {"torch", "mmdet", "PIL"} & set(sys.modules))'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '0.1.0 set()'


@pytest.mark.parametrize('name', NAMES)
def test_detections_are_the_recorded_ones(thin, golden, name):
    detector = load(name)
    recorded = torch.load(golden / f'expected/dp/{name}.golden.pth', weights_only=True)
    sample, expected = recorded['val'][1], recorded['detections'][1]
    found = detector(pathlib.Path('data/coco/val2017', pathlib.Path(sample['filename']).name))
    assert len(found) == len(expected['boxes']) == 300
    gap = np.abs(found.xyxy[:, None] - expected['boxes'].numpy()[None, :, :4]).max(-1)
    score_gap = np.abs(found.confidence[:, None] - expected['boxes'].numpy()[None, :, 4])
    label = found.class_id[:, None] == expected['labels'].numpy()[None]
    # The recorded input is in fp16, hence the tolerance in pixels.
    matched = (label & (gap < 0.5) & (score_gap < 2e-3)).any(0)
    assert matched.mean() > 0.95
    assert (np.diff(found.confidence) <= 0).all()
    assert (found.mask is not None) == (name == 'oadp_ov_lvis')
    if found.mask is not None:
        height, width, _ = sample['ori_shape']
        assert found.mask.shape == (300, height, width)
        areas = np.sort(found.mask.sum((1, 2)))
        wanted = np.sort(expected['mask_areas'].numpy())
        assert np.abs(areas - wanted).max() < 0.02 * wanted.max()


@pytest.mark.parametrize('name', NAMES)
def test_equals_the_model_that_is_evaluated(thin, name):
    """The network's public call, which ``oadp.dp.test`` makes, gives the same, to the last bit."""
    detector = load(name)
    if name == 'oadp_ov_lvis':  # masks of 300 boxes take their time
        detector._view.model.roi_head.test_cfg.max_per_img = 40
    found = detector(IMAGE)
    img, meta = detector._prepare(read_image(IMAGE))
    with torch.no_grad():
        [result] = detector._view.model(
            return_loss=False, rescale=True, img=[img], img_metas=[[meta]]
        )
    boxes, masks = result if isinstance(result, tuple) else (result, None)
    for c, rows in enumerate(boxes):
        mine = found.class_id == c
        assert np.array_equal(np.c_[found.xyxy, found.confidence][mine], rows)
        if masks is not None and len(rows):
            assert np.array_equal(found.mask[mine], np.array(masks[c]))


@pytest.mark.parametrize('name', NAMES)
def test_memory_layout_changes_only_the_rounding(thin, name):
    """The detections are those of the layout in which models are evaluated, unless scores are tied."""
    detector = load(name)
    model = detector._view.model
    assert model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    found = detector(IMAGE, max_detections=40)
    model.to(memory_format=torch.contiguous_format)
    expected = detector(IMAGE, max_detections=40)
    assert len(found) == len(expected) == 40
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    same = (
        (np.abs(found.xyxy[:, None] - expected.xyxy[None]).max(-1) < 1e-2)
        & (np.abs(found.confidence[:, None] - expected.confidence[None]) < 1e-5)
        & (found.class_id[:, None] == expected.class_id[None])
    )
    assert same.any(0)[:39].all()


@pytest.mark.parametrize('name', NAMES)
def test_own_classes_as_a_vocabulary_change_nothing(thin, name, monkeypatch):
    monkeypatch.setattr(TextEmbedder, '__call__', None)  # The prompt files know all names.
    detector = load(name)

    def detect(names=None):
        return detector.with_vocabulary(names)(IMAGE, max_detections=40)

    own = detect()
    assert len(own) == 40 and same(detect(detector.names), own)
    assert not same(detect(detector.names[:3]), own)


def test_set_vocabulary_and_back(detector):
    own = detector(IMAGE)
    detector.set_vocabulary(['cat', 'dog'])
    assert detector.names == ('cat', 'dog') and not same(detector(IMAGE), own)
    detector.set_vocabulary(None)
    assert len(detector.names) == 65 and same(detector(IMAGE), own)


def test_order_of_names_does_not_matter(detector):
    own = detector(IMAGE, max_detections=50)
    turned = detector.with_vocabulary(detector.names[::-1])(IMAGE, max_detections=50)
    assert np.array_equal(turned.data['class_name'], own.data['class_name'])
    assert np.array_equal(turned.class_id, 64 - own.class_id)
    np.testing.assert_allclose(turned.confidence, own.confidence, rtol=1e-4)


def test_new_names_are_novel(detector):
    words = detector.with_vocabulary(['red kite', 'Person', 'cat', 'TRUCK', 'mug'])
    bases = get_categories('coco').bases
    assert 'person' in bases and 'truck' in bases and 'cat' not in bases
    assert words.is_base.tolist() == [False, True, False, True, False]
    assert words._view.model.roi_head.is_base.tolist() == words.is_base.tolist()
    vild = torch.load('data/prompts/vild.pth', weights_only=True)
    learned = torch.load('data/prompts/ml_coco.pth', weights_only=True)
    roi_head = words._view.model.roi_head
    for head, prompts in ((roi_head.bbox_head, vild), (roi_head._object_head, learned)):
        matrix = head.fc_cls._embeddings
        assert torch.equal(matrix[1], prompts['embeddings'][prompts['names'].index('person')])
        assert torch.equal(matrix[2], prompts['embeddings'][prompts['names'].index('cat')])
    # 'mug' is LVIS's: the box head's file has it, the learned one has not.
    box, learned_row = roi_head.bbox_head.fc_cls, roi_head._object_head.fc_cls._embeddings[4]
    row = vild['embeddings'][vild['names'].index('mug')]
    assert torch.equal(box._embeddings[4], row)
    torch.testing.assert_close(learned_row, row / row.norm(), atol=1e-5, rtol=0)
    found = words(IMAGE)
    assert set(found.data['class_name']) <= set(words.names)
    assert (found.data['is_base'] == words.is_base[found.class_id]).all()


def test_only_the_matrices_differ(detector):
    words = detector.with_vocabulary(['red kite', 'mug'])
    mine, theirs = detector._view.model, words._view.model
    parameters = dict(mine.named_parameters())
    assert all(p is parameters[name] for name, p in theirs.named_parameters())
    buffers = dict(mine.named_buffers(remove_duplicate=False))
    changed = {
        name
        for name, buffer in theirs.named_buffers(remove_duplicate=False)
        if buffer is not buffers[name]
    }
    heads = ('roi_head.bbox_head', 'roi_head._object_head')
    assert changed == {f'{h}.fc_cls.{b}' for h in heads for b in ('_embeddings', 'is_base')}
    assert len(detector.names) == 65, 'the first detector stays as it was'


def test_vocabularies_of_threads_are_independent(detector):
    vocabularies = [('red kite', 'mug'), ('cat', 'dog', 'person'), detector.names, ('bear',)]
    alone = [detector.with_vocabulary(v)(IMAGE) for v in vocabularies]

    def work(i: int):
        return detector.with_vocabulary(vocabularies[i % 4])(IMAGE)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(work, range(8))):
            assert same(found, alone[i % 4])


def test_threshold_and_number_cut_the_list(detector):
    everything = detector(IMAGE)
    threshold = float(everything.confidence[40])
    assert same(detector(IMAGE, threshold), everything[everything.confidence > threshold])
    assert same(detector(IMAGE, max_detections=7), everything[:7])
    assert same(detector(IMAGE, max_detections=10**6), everything)
    assert len(detector(IMAGE, 1.0)) == 0


def test_no_detections(thin):
    found = load('oadp_ov_lvis')(IMAGE, 1.0)
    image = read_image(IMAGE)
    assert found.xyxy.shape == (0, 4) and found.mask.shape == (0, *image.shape[:2])
    assert found.data['class_name'].shape == (0,)


def test_path_array_and_pil_image_are_equivalent(detector, tmp_path):
    image = read_image(IMAGE)
    own = detector(IMAGE)
    assert same(detector(image), own)
    assert same(detector(PIL.Image.fromarray(image)), own)
    assert not same(detector(image[..., ::-1].copy()), own), 'the order of the colours matters'


@pytest.mark.parametrize(
    'config, checkpoint, error, message',
    [
        pytest.param('none.py', 'x.pth', FileNotFoundError, 'none.py', id='no config'),
        pytest.param(
            'oadp_ov_coco.py', 'x.pth', FileNotFoundError, 'x.pth: no such file', id='no checkpoint'
        ),
        pytest.param(
            # The global and block heads, which ViLD lacks, would not be missed.
            'oadp_ov_lvis.py',
            'vild_ov_coco.pth',
            ValueError,
            'not a checkpoint of this config.*mask_head',
            id='of another config',
        ),
        pytest.param(
            'oadp_ov_coco.py',
            'data/prompts/vild.pth',
            ValueError,
            'vild.pth: expected a state dict',
            id='a prompt file',
        ),
    ],
)
def test_from_checkpoint_refuses(thin, config, checkpoint, error, message):
    with pytest.raises(error, match=message):
        Detector.from_checkpoint(config, checkpoint)


def test_wide_weights_do_not_fit(thin, tmp_path):
    content = torch.load('vild_ov_coco.pth', weights_only=True)
    key = 'roi_head.bbox_head.fc_cls._linear.weight'
    content['state_dict'][key] = torch.zeros(512, 1024)
    torch.save(content, tmp_path / 'wide.pth')
    with pytest.raises(
        ValueError, match=r'_linear.weight: found \(512, 1024\), expected \(512, 64\)'
    ):
        Detector.from_checkpoint('vild_ov_coco.py', tmp_path / 'wide.pth')


def test_new_names_need_clip(thin, tmp_path):
    detector = Detector.from_checkpoint(
        'oadp_ov_coco.py', 'oadp_ov_coco.pth', clip='none.pt', cache=tmp_path
    )
    detector.set_vocabulary(['cat', 'person'])
    with pytest.raises(FileNotFoundError, match='none.pt'):
        detector.set_vocabulary(['red kite'])
    assert detector.names == ('cat', 'person')
