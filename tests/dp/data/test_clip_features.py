import pathlib

import numpy as np
import pytest
import torch

from oadp.data.features.stores import open_store
from oadp.dp.data.clip_features import (
    LoadCLIPFeatures,
    OVFormatBundle,
    without_unused_features,
)

DIM = 8


def image(image_id: int = 1) -> dict:
    return dict(
        img_info=dict(id=image_id),
        gt_bboxes=np.array([[0, 0, 10, 10], [30, 30, 40, 40]], dtype=np.float32),
        gt_labels=np.array([2, 0]),
        bbox_fields=['gt_bboxes'],
        num_classes=4,
    )


def boxes_record(boxes: list) -> dict:
    return dict(
        embeddings=torch.arange(len(boxes)).half()[:, None].expand(-1, DIM).contiguous(),
        bboxes=torch.tensor(boxes).half(),
    )


@pytest.fixture
def oake(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'oake'
    open_store(root / 'globals/a', 'globals').write(1, torch.ones(DIM).half())
    blocks = boxes_record([[0, 0, 20, 20], [9, 9, 31, 31], [10, 10, 30, 30]])
    open_store(root / 'blocks/a', 'blocks').write(1, blocks)
    objects = boxes_record([[0, 0, 4, 4], [0, 0, 3, 9], [5, 5, 9, 8.5], [1, 1, 20, 20]])
    objects['objectness'] = torch.ones(4, 1).half()
    open_store(root / 'objects/a', 'objects').write(1, objects)
    return root


def load(root: pathlib.Path, task: object = 'a', kinds: str = 'gbo', **options) -> LoadCLIPFeatures:
    locations = dict(
        globals_=dict(data_root=str(root / 'globals')),
        blocks=dict(data_root=str(root / 'blocks')),
        objects=dict(data_root=str(root / 'objects')),
    )
    return LoadCLIPFeatures(
        default=dict(task_name=task, val_task_name='b'),
        **{k: v if k[0] in kinds else None for k, v in locations.items()},
        **options,
    )


def test_added_keys(oake: pathlib.Path):
    results = load(oake)(image())
    assert results['clip_global'].shape == (DIM,)
    # Boxes lower or narrower than 4 pixels are removed with their features.
    assert results['object_bboxes'].tolist() == [[0, 0, 4, 4], [1, 1, 20, 20]]
    assert results['clip_objects'][:, 0].tolist() == [0, 3]
    assert results['bbox_fields'] == ['gt_bboxes', 'block_bboxes', 'object_bboxes']
    # The last block touches both boxes only at corners, which is not an overlap.
    expected = [[False, False, True, False], [True, False, True, False], [False] * 4]
    assert results['block_labels'].tolist() == expected


@pytest.mark.parametrize(
    ('kinds', 'keys'),
    [
        ('o', {'clip_objects', 'object_bboxes'}),
        ('b', {'clip_blocks', 'block_bboxes', 'block_labels'}),
        ('g', {'clip_global'}),
        ('', set()),
    ],
)
def test_types_can_be_omitted(oake: pathlib.Path, kinds: str, keys: set):
    assert set(load(oake, kinds=kinds)(image())) - set(image()) == keys


def test_image_without_annotations(oake: pathlib.Path):
    empty = dict(image(), gt_bboxes=np.zeros((0, 4), np.float32), gt_labels=np.zeros(0, np.int64))
    labels = load(oake, kinds='b')(empty)['block_labels']
    assert labels.shape == (3, 4) and not labels.any()


def test_resize_and_flip_move_the_boxes(oake: pathlib.Path):
    from mmdet.datasets.pipelines import RandomFlip, Resize

    results = load(oake)(dict(image(), img=np.zeros((50, 100, 3), np.uint8)))
    results.update(img_fields=['img'], img_shape=(50, 100, 3))
    results = RandomFlip(1.0)(Resize(img_scale=(200, 100))(results))
    assert results['object_bboxes'].tolist() == [[192, 0, 200, 8], [160, 2, 198, 40]]
    assert results['block_bboxes'][0].tolist() == [160, 0, 200, 40]


def test_format(oake: pathlib.Path):
    results = load(oake)(dict(image(), img=np.zeros((50, 100, 3), np.uint8)))
    results = OVFormatBundle()(results)
    assert results['clip_global'].stack and not results['clip_objects'].stack
    assert isinstance(results['object_bboxes'].data, torch.Tensor)


def test_missing_record(oake: pathlib.Path):
    with pytest.raises(FileNotFoundError, match='oadp.oake.globals'):
        load(oake)(image(2))


def test_dry_run_uses_features_of_another_image(
    oake: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv('DRY_RUN', 'True')
    assert load(oake)(image(2))['clip_objects'].shape == (2, DIM)
    with pytest.raises(FileNotFoundError, match='oadp.oake.globals'):
        load(oake, task='nowhere')(image(2))


def test_dry_run_uses_features_extracted_in_dry_run(
    oake: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv('DRY_RUN', 'True')
    path = pathlib.Path('work_dirs/dry_run/oake/globals/data/globals/a')
    open_store(path, 'globals').write(7, torch.full((DIM,), 0.5).half())
    step = LoadCLIPFeatures(globals_=dict(data_root='data/globals', task_name='a'))
    assert step(image())['clip_global'][0] == 0.5


def test_validation_split_and_several_folders(oake: pathlib.Path):
    open_store(oake / 'globals/b', 'globals').write(5, torch.ones(DIM).half())
    assert load(oake, kinds='g', split='val')(image(5))
    assert load(oake, kinds='g', task=['a', 'b'])(image(5))
    with pytest.raises(FileNotFoundError, match=r'globals/a/000000000005.pth'):
        load(oake, kinds='g')(image(5))


def test_packed_features(oake: pathlib.Path):
    open_store(oake / 'globals/a.lmdb', 'globals').write(3, torch.ones(DIM).half())
    assert load(oake, kinds='g', task='a.lmdb')(image(3))
    whole = dict(data_root=str(oake / 'globals/a.lmdb'))
    assert LoadCLIPFeatures(globals_=whole)(image(3))
    with pytest.raises(ValueError, match='val_task_name'):
        LoadCLIPFeatures(globals_=whole, split='val')


def test_wrong_position_in_the_pipeline(oake: pathlib.Path):
    with pytest.raises(ValueError, match='before Resize'):
        load(oake)(dict(image(), scale_factor=1.0))


def test_unused_features_are_neither_loaded_nor_collected():
    pipeline = [
        dict(type='LoadCLIPFeatures', globals_=dict(data_root='a'), objects=dict(data_root='b')),
        dict(type='Collect', keys=['img', 'clip_global', 'clip_objects', 'object_bboxes']),
    ]
    load, collect = without_unused_features(pipeline, {'objects'})
    assert load['globals_'] is None and load['objects'] == dict(data_root='b')
    assert collect['keys'] == ['img', 'clip_objects', 'object_bboxes']
    assert pipeline[1]['keys'][1] == 'clip_global', 'the given config is not changed'
