"""The body of the embedded benchmark's networks: what comes before regions.

A ResNet-18 of half the width, a pyramid of 64 channels on strides 8 to 32. The region proposal network trains
it from random weights, and the detectors start from there (detector.py).
Pictures are about 160 pixels, objects 26 to 56.
"""

model = dict(
    backbone=dict(
        depth=18,
        base_channels=32,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        style='pytorch',
        init_cfg=None,
    ),
    neck=dict(
        in_channels=[64, 128, 256],
        out_channels=64,
        num_outs=3,
        norm_cfg=dict(type='BN'),
    ),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4], strides=[8, 16, 32]),
    ),
    # As many negatives as positives. Unlabelled novel objects are among the negatives, and a picture of
    # this size has 1,575 anchors where COCO's have 268,000: of mmdet's 256 a step, hardly any is on
    # such an object there; here it would be what most of them are good for.
    train_cfg=dict(rpn=dict(sampler=dict(num=64, neg_pos_ub=1))),
)
