"""OADP on a Cascade R-CNN (arXiv:1712.00726), ResNet-50, FPN, on OV-COCO.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train others/cascade_rcnn_r50_fpn configs/dp/others/cascade_rcnn_r50_fpn.py

Needs what `../oadp_ov_coco.py` needs. The stages, their IoU thresholds and weights are mmdet's; each stage
classifies by the text embeddings, and the object and block heads run on the RoIs of the last stage.
Expected: not run; no figure is published for this file.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    detector='CascadeRCNN',
    roi_head=dict(
        type='OADPCascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=None,  # from `categories`
                norm_cfg=dict(type='SyncBN', requires_grad=True),
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=stds,
                ),
                reg_class_agnostic=True,
                cls_predictor_cfg=dict(
                    type='ViLDClassifier',
                    prompts='data/prompts/vild.pth',
                    scaler=dict(train=0.007, val=0.01),
                ),
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            )
            for stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=threshold,
                    neg_iou_thr=threshold,
                    min_pos_iou=threshold,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(
                    type='RandomSampler',
                    num=512,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                pos_weight=-1,
                debug=False,
            )
            for threshold in (0.5, 0.6, 0.7)
        ],
    ),
)
