"""Create config files in the form of the authors', for ``training_dataset`` and ``oake_dataset``.

They are small and written for these tests. They have what is typical of that form: variables beside the
settings, mmdet's steps that format a batch, todd's access layers, and schedules as weights of all losses.
"""

import pathlib

import torch
from training_dataset import ROOT, make_training_dataset

from oadp.compat import load_tensors

DATA = """
_base_ = ['detection.py']

categories = {root!r} + '/categories.json'
dataset_type = 'OV_COCO'
oake_root = {root!r} + '/oake/'
norm = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
boxes = ['block_bboxes', 'block_labels', 'object_bboxes']
trainer = dict(
    dataloader=dict(
        dataset=dict(
            type=dataset_type,
            ann_file='train.json',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(
                    type='LoadCLIPFeatures',
                    default=dict(task_name='train', type='PthAccessLayer'),
                    globals_=dict(data_root=oake_root + 'globals'),
                    blocks=dict(data_root=oake_root + 'blocks'),
                    objects=dict(data_root=oake_root + 'objects'),
                ),
                dict(
                    type='Resize',
                    img_scale=[(96, 64), (96, 80)],
                    multiscale_mode='range',
                    keep_ratio=True,
                ),
                dict(type='RandomFlip', flip_ratio=0.5),
                dict(type='Normalize', **norm),
                dict(type='Pad', size_divisor=32),
                dict(type='DefaultFormatBundle'),
                dict(type='ToTensor', keys=boxes),
                dict(
                    type='ToDataContainer',
                    fields=[dict(key=key) for key in [*boxes, 'clip_blocks', 'clip_objects']],
                ),
                dict(
                    type='Collect',
                    keys=['img', 'gt_bboxes', 'gt_labels', 'clip_global', 'clip_blocks']
                    + ['clip_objects', *boxes],
                ),
            ],
        ),
    ),
)
validator = dict(dataloader=dict(dataset=dict(type=dataset_type, ann_file='val.json')))
"""

DETECTION = """
norm = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
trainer = dict(
    dataloader=dict(
        samples_per_gpu=2,
        workers_per_gpu=0,
        dataset=dict(type='CocoDataset', img_prefix='images/train/'),
    ),
)
validator = dict(
    dataloader=dict(
        samples_per_gpu=1,
        workers_per_gpu=0,
        dataset=dict(
            type='CocoDataset',
            img_prefix='images/val/',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(
                    type='MultiScaleFlipAug',
                    img_scale=(96, 64),
                    flip=False,
                    transforms=[
                        dict(type='Resize', keep_ratio=True),
                        dict(type='RandomFlip'),
                        dict(type='Normalize', **norm),
                        dict(type='Pad', size_divisor=32),
                        dict(type='ImageToTensor', keys=['img']),
                        dict(type='Collect', keys=['img']),
                    ],
                ),
            ],
        ),
    ),
)
"""

SCHEDULE = """
interval = 2
trainer = dict(
    optimizer=dict(
        type='SGD', lr=0.02, momentum=0.9, weight_decay=2.5e-5,
        paramwise_cfg=dict(custom_keys={'roi_head.bbox_head': dict(lr_mult=0.5)}),
    ),
    optimizer_config=dict(grad_clip=None),
    lr_config=dict(
        policy='step', warmup='linear', warmup_iters=2, warmup_ratio=0.001, by_epoch=False, step=[30000]
    ),
    runner=dict(type='IterBasedRunner', max_iters=2e0),
    log_config=dict(interval=1, hooks=[dict(type='TextLoggerHook', by_epoch=False)]),
    workflow=[('train', interval)],
    checkpoint_config=dict(by_epoch=False, interval=interval, save_last=True),
    evaluation=dict(interval=interval),
    custom_hooks=[dict(type='NumClassCheckHook')],
    fp16=dict(loss_scale=dict(init_scale=64.0)),
    log_level='INFO',
    resume_from=None,
    load_from=None,
    seed=3407,
)
validator = dict(fp16=False)
"""

DETECTOR = """
_base_ = ['data.py', {model!r}, 'schedule.py']

prompts = {root!r} + '/prompts.pth'
sizes = dict(in_channels=16, fc_out_channels=32, conv_out_channels=16)
cls_predictor_cfg = dict(type='ViLDClassifier', prompts=prompts, scaler=dict(train=0.007, val=0.01))
model = dict(
    backbone=dict(depth=18, base_channels=8, frozen_stages=-1),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(cls_predictor_cfg=cls_predictor_cfg, **sizes),
        object_head=dict(cls_predictor_cfg=cls_predictor_cfg),
        block_head=dict(
            cls_predictor_cfg=cls_predictor_cfg,
            loss=dict(
                _delete_=True, type='AsymmetricLoss', gamma_neg=4, gamma_pos=0,
                weight=dict(type='WarmupScheduler', gain=16, end=1000),
            ),
        ),
    ),
    global_head={global_head},
    distiller=dict(
        student_hooks={hooks},
        losses=dict(
            loss_clip_objects=dict(action=dict(weight=dict(gain=256))),
            loss_clip_global={loss},
        ),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20)),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20), rcnn=dict(max_per_img=20)),
)
"""

GLOBAL_HEAD = """dict(
        classifier=dict(type='ViLDClassifier', prompts=prompts, in_features=16, out_features=5),
        loss=dict(
            _delete_=True, type='AsymmetricLoss', gamma_neg=4, gamma_pos=0,
            weight=dict(type='WarmupScheduler', gain=4, end=2000),
        ),
    )"""
GLOBAL_LOSS = """dict(
                inputs=('global_', 'clip_global'),
                action=dict(
                    _delete_=True, type='MSELoss', reduction='sum',
                    weight=dict(type='WarmupScheduler', gain=0.5, end=200),
                ),
            )"""

OAKE_BASE = """
train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/train2017', annFile='data/coco/annotations/instances_train2017.json'
        ),
        num_workers=0,
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(root='data/coco/val2017', annFile='data/coco/annotations/instances_val2017.json'),
        num_workers=0,
    ),
)
log = dict(interval=5)
"""

OAKE_GLOBALS = """
_base_ = ['base.py']

train = dict(dataloader=dict(dataset=dict(output_dir='out/globals/train2017')))
val = dict(dataloader=dict(dataset=dict(output_dir='out/globals/val2017')))
"""

OAKE_OBJECTS = """
_base_ = ['base.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            type='COCODataset',
            output_dir='out/objects/train2017',
            proposal_file='data/coco/proposals/oln_r50_fpn_coco_train.pkl',
            proposal_sorted=True,
        ),
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            type='COCODataset',
            output_dir='out/objects/val2017',
            proposal_file='data/coco/proposals/oln_r50_fpn_coco_val.pkl',
            proposal_sorted=True,
        ),
    ),
)
mini_batch_size = 512
"""


def make_authors_configs(root: pathlib.Path) -> None:
    """Create the training dataset and configs in the authors' form, with and without a global head.

    These configs are ``theirs.py`` and ``headless.py``; ``ov_coco.py`` has this project's form. Features
    of images are stored as rows, as in some of the authors' files.
    """
    make_training_dataset(root)
    for path in (root / 'oake/globals').rglob('*.pth'):
        torch.save(load_tensors(path)[None], path)
    (root / 'detection.py').write_text(DETECTION)
    (root / 'data.py').write_text(DATA.format(root=str(root)))
    (root / 'schedule.py').write_text(SCHEDULE)
    parts = {
        'theirs': dict(global_head=GLOBAL_HEAD, hooks='dict()', loss=GLOBAL_LOSS),
        'headless': dict(global_head='None', hooks='dict(global_=None)', loss='None'),
    }
    model = str(ROOT / 'configs/dp/models/oadp.py')
    for name, values in parts.items():
        (root / f'{name}.py').write_text(DETECTOR.format(root=str(root), model=model, **values))


def write_oake_configs(root: pathlib.Path) -> None:
    """Write ``globals.py`` and ``objects.py``, for the data of ``oake_dataset.make_oake_dataset``."""
    for name, text in dict(base=OAKE_BASE, globals=OAKE_GLOBALS, objects=OAKE_OBJECTS).items():
        (root / f'{name}.py').write_text(text)
