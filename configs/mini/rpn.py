"""The embedded benchmark's region proposal network, trained on boxes of base classes alone.

    python -m oadp.dp.train mini/rpn configs/mini/rpn.py
    python -m oadp.proposals configs/mini/rpn.py work_dirs/mini/rpn/latest.pth \
        --annotations data/mini/annotations/instances_train.18.json \
        --out data/mini/proposals/rpn_train.pkl

The 25 best proposals of a picture go to CLIP and to the detector.
"""

_base_ = ['../proposals/rpn_r50_fpn.py', 'body.py', 'schedule.py']

categories = 'data/mini/categories.json'

SCALE = (176, 160)
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
ITERATIONS = 500

model = dict(test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=25)))

trainer = dict(
    dataloader=dict(
        samples_per_gpu=8,
        workers_per_gpu=0,
        dataset=dict(
            type='OV_COCO',
            ann_file='data/mini/annotations/instances_train.18.json',
            img_prefix='data/mini/train/',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', img_scale=SCALE, keep_ratio=True),
                dict(type='RandomFlip', flip_ratio=0.5),
                dict(type='Normalize', **NORM),
                dict(type='Pad', size_divisor=16),
                dict(type='DefaultFormatBundle'),
                dict(type='Collect', keys=['img', 'gt_bboxes']),
            ],
        ),
    ),
    runner=dict(max_iters=ITERATIONS),
    checkpoint_config=dict(interval=ITERATIONS),
    load_from=None,
)
validator = dict(
    dataloader=dict(
        samples_per_gpu=1,
        workers_per_gpu=0,
        dataset=dict(
            type='OV_COCO',
            ann_file='data/mini/annotations/instances_val.27.min.json',
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
