"""A region proposal network, ResNet-50 and FPN, started from torchvision's ImageNet weights.

Class-agnostic: it learns from boxes and ignores their categories (mmdet's defaults for an RPN).
"""

_base_ = ['../dp/models/r50_fpn.py']

model = dict(
    type='RPN',
    backbone=dict(
        style='pytorch',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='pretrained/torchvision/resnet50-0676ba61.pth',
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=2000,
            max_per_img=1000,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0,
        ),
    ),
)
