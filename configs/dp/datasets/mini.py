"""The embedded benchmark's dataset, drawn by `python -m oadp.mini`.

Training uses boxes of base classes alone (`instances_train.64.json`); validation, boxes of all
classes. No image is larger than `SCALE`, so that none is resized.
"""

_base_ = ['../schedules/mini.py']

categories = 'data/mini/categories.json'

SCALE = (128, 112)
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

trainer = dict(
    dataloader=dict(
        samples_per_gpu=8,
        workers_per_gpu=0,
        dataset=dict(
            type='OV_COCO',
            ann_file='data/mini/annotations/instances_train.64.json',
            img_prefix='data/mini/train/',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(
                    type='LoadCLIPFeatures',
                    default=dict(task_name='train'),
                    globals_=dict(data_root='data/mini/oake/globals'),
                    blocks=dict(data_root='data/mini/oake/blocks'),
                    objects=dict(data_root='data/mini/oake/objects'),
                ),
                dict(type='Resize', img_scale=SCALE, keep_ratio=True),
                dict(type='RandomFlip', flip_ratio=0.5),
                dict(type='Normalize', **NORM),
                dict(type='Pad', size_divisor=16),
                dict(type='OVFormatBundle'),
                dict(
                    type='Collect',
                    keys=[
                        'img',
                        'gt_bboxes',
                        'gt_labels',
                        'clip_global',
                        'clip_blocks',
                        'block_bboxes',
                        'block_labels',
                        'clip_objects',
                        'object_bboxes',
                    ],
                ),
            ],
        ),
    ),
)
validator = dict(
    dataloader=dict(
        samples_per_gpu=1,
        workers_per_gpu=0,
        dataset=dict(
            type='OV_COCO',
            ann_file='data/mini/annotations/instances_val.96.min.json',
            img_prefix='data/mini/val/',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(
                    type='MultiScaleFlipAug',
                    img_scale=SCALE,
                    flip=False,
                    transforms=[
                        dict(type='Resize', keep_ratio=True),
                        dict(type='RandomFlip'),
                        dict(type='Normalize', **NORM),
                        dict(type='Pad', size_divisor=16),
                        dict(type='ImageToTensor', keys=['img']),
                        dict(type='Collect', keys=['img']),
                    ],
                ),
            ],
        ),
    ),
)
