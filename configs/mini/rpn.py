r"""The embedded benchmark's region proposal network, trained on boxes of base classes only.

    python -m oadp.dp.train mini/seed0/rpn configs/mini/rpn.py
    python -m oadp.proposals configs/mini/rpn.py work_dirs/mini/seed0/rpn/latest.pth \
        --annotations data/mini/annotations/instances_train.64.json \
        --out data/mini/proposals/rpn_train.pkl

Needs what `python -m oadp.mini` makes first: the dataset and its base annotations. The 10 best proposals
of each image are encoded by CLIP and train the object heads. The backbone, the neck and the RPN
head are those of `none.py`: the detectors start from this checkpoint.
"""

_base_ = ['../proposals/rpn_r50_fpn.py', '../dp/datasets/mini.py']

model = dict(
    backbone=dict(
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=64, num_outs=3, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[6], strides=[4, 8, 16]),
    ),
    train_cfg=dict(rpn=dict(sampler=dict(num=64, neg_pos_ub=1))),  # the reason is in none.py
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=10)),
)

SCALE = (128, 112)
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

trainer = dict(
    dataloader=dict(
        dataset=dict(
            # Without CLIP's features, which are computed from the proposals later.
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
    runner=dict(max_iters=500),
    checkpoint_config=dict(interval=500),
    load_from=None,
)
