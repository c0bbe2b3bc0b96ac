"""OV-COCO for a detector that learns from objects alone (ViLD): no other features need be there."""

_base_ = ['ov_coco.py']

trainer = dict(
    dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(
                    type='LoadCLIPFeatures',
                    default=dict(task_name='train2017', val_task_name='val2017'),
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
                        'clip_objects',
                        'object_bboxes',
                    ],
                ),
            ],
        ),
    ),
)
