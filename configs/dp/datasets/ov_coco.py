"""OV-COCO: 48 base categories for training, and 17 novel categories that occur only in evaluation.

Training reads the annotations of base categories and CLIP's features of each image. Validation reads
all annotations, of the images that have at least one. Image sizes, flips and the normalization are the
paper's (mmdet's, for backbones with RGB input).
"""

_base_ = ['../schedules/40k.py', 'validation.py']

categories = 'coco'

trainer = dict(
    dataloader=dict(
        samples_per_gpu=2,
        workers_per_gpu=2,
        dataset=dict(
            type='OV_COCO',
            ann_file='data/coco/annotations/instances_train2017.48.json',
            img_prefix='data/coco/train2017/',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(
                    type='LoadCLIPFeatures',
                    default=dict(task_name='train2017', val_task_name='val2017'),
                    globals_=dict(data_root='data/coco/oake/globals'),
                    blocks=dict(data_root='data/coco/oake/blocks'),
                    objects=dict(data_root='data/coco/oake/objects'),
                ),
                dict(
                    type='Resize',
                    img_scale=[(1330, 640), (1333, 800)],
                    multiscale_mode='range',
                    keep_ratio=True,
                ),
                dict(type='RandomFlip', flip_ratio=0.5),
                dict(
                    type='Normalize',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    to_rgb=True,
                ),
                dict(type='Pad', size_divisor=32),
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
        dataset=dict(
            type='OV_COCO',
            ann_file='data/coco/annotations/instances_val2017.65.min.json',
            img_prefix='data/coco/val2017/',
        ),
    ),
)
