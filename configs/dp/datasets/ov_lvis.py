"""OV-LVIS: 866 base categories (frequent and common) for training; the 337 rare ones are novel.

Images with less frequent categories are repeated (LVIS, arXiv:1908.03195, repeat factor sampling with a
threshold of 1e-3).
File names come from the annotations (`train2017/…`, `val2017/…`), so the image folder is the root.
"""

_base_ = ['../schedules/24e.py', 'validation.py']

categories = 'lvis'

trainer = dict(
    dataloader=dict(
        samples_per_gpu=2,
        workers_per_gpu=2,
        dataset=dict(
            type='ClassBalancedDataset',
            oversample_thr=1e-3,
            dataset=dict(
                type='OV_LVIS',
                ann_file='data/lvis_v1/annotations/lvis_v1_train.866.json',
                img_prefix='data/lvis_v1/',
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                    dict(
                        type='LoadCLIPFeatures',
                        default=dict(task_name='train2017', val_task_name='val2017'),
                        # LVIS's validation images include images of COCO's training split.
                        globals_=dict(
                            data_root='data/lvis_v1/oake/globals',
                            val_task_name=['val2017', 'train2017'],
                        ),
                        blocks=dict(
                            data_root='data/lvis_v1/oake/blocks',
                            val_task_name=['val2017', 'train2017'],
                        ),
                        objects=dict(data_root='data/lvis_v1/oake/objects'),
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
                            'gt_masks',
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
    ),
)

validator = dict(
    dataloader=dict(
        dataset=dict(
            type='OV_LVIS',
            ann_file='data/lvis_v1/annotations/lvis_v1_val.1203.json',
            img_prefix='data/lvis_v1/',
        ),
    ),
)
