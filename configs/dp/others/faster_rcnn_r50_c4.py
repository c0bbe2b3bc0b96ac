"""OADP on a Faster R-CNN without FPN (C4), ResNet-50, on OV-COCO.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train others/faster_rcnn_r50_c4 configs/dp/others/faster_rcnn_r50_c4.py

Needs what `../oadp_ov_coco.py` needs, except for SoCo's checkpoint: training starts from torchvision's
ResNet-50, which mmcv downloads. All heads share the backbone's last stage (`shared_head`) and have no other
layers than the classifier. The settings of the RPN are mmdet's for C4.
Expected: not run; no figure is published for this file.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    backbone=dict(
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=None,
    rpn_head=dict(
        in_channels=1024,
        feat_channels=1024,
        anchor_generator=dict(scales=[2, 4, 8, 16, 32], strides=[16]),
    ),
    roi_head=dict(
        shared_head=dict(
            type='ResLayer',
            depth=50,
            stage=3,
            stride=2,
            dilation=1,
            style='pytorch',
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
        ),
        bbox_roi_extractor=dict(
            roi_layer=dict(output_size=14),
            out_channels=1024,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            _delete_=True,
            type='BBoxHead',
            with_avg_pool=True,
            roi_feat_size=7,
            in_channels=2048,
            num_classes=None,  # from `categories`
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            reg_class_agnostic=True,
            cls_predictor_cfg=dict(
                type='ViLDClassifier',
                prompts='data/prompts/vild.pth',
                scaler=dict(train=0.007, val=0.01),
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        object_head=dict(type='ObjectBBoxHead'),
        block_head=dict(type='BlockBBoxHead'),
    ),
    global_head=dict(classifier=dict(in_features=1024)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=12000, max_per_img=2000)),
    test_cfg=dict(rpn=dict(nms_pre=6000)),
)

trainer = dict(load_from=None)
