"""Proposals for OV-COCO from a region proposal network trained on boxes of the 48 base classes only.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train rpn_coco configs/proposals/rpn_r50_fpn_coco.py
    for split in train val; do
        (python|torchrun --nproc_per_node=${GPUS}) -m oadp.proposals \
            configs/proposals/rpn_r50_fpn_coco.py work_dirs/rpn_coco/latest.pth \
            --annotations data/coco/annotations/instances_${split}2017.json \
            --images data/coco/${split}2017 \
            --out data/coco/proposals/rpn_r50_fpn_coco_${split}.pkl
    done

Needs COCO 2017, `python -m oadp.build_annotations` and torchvision's ResNet-50 (README, section
Preparation). A standard RPN of mmdet (12 epochs of 16 images a step); no figure is published for it.
To use the proposals: `.train.dataloader.dataset.proposal_file::FILE` (and `.val…`) of
`configs/oake/objects_coco.py`.
"""

_base_ = ['rpn_r50_fpn.py', '../dp/datasets/validation.py']

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
                dict(type='Resize', img_scale=(1333, 800), keep_ratio=True),
                dict(type='RandomFlip', flip_ratio=0.5),
                dict(
                    type='Normalize',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    to_rgb=True,
                ),
                dict(type='Pad', size_divisor=32),
                dict(type='DefaultFormatBundle'),
                dict(type='Collect', keys=['img', 'gt_bboxes']),
            ],
        ),
    ),
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    auto_scale_lr=dict(enable=True, base_batch_size=16),
    optimizer_config=dict(grad_clip=None),
    lr_config=dict(
        policy='step',
        warmup='linear',
        warmup_iters=500,
        warmup_ratio=0.001,
        step=[8, 11],
    ),
    runner=dict(type='EpochBasedRunner', max_epochs=12),
    workflow=[('train', 1)],
    checkpoint_config=dict(interval=1),
    log_config=dict(interval=50, hooks=[dict(type='TextLoggerHook')]),
    custom_hooks=[dict(type='NumClassCheckHook')],
    evaluation=None,  # evaluated by the detector that uses its proposals
    load_from=None,
    resume_from=None,
    seed=3407,
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
