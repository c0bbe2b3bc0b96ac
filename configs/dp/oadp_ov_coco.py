"""OADP on OV-COCO (48 base, 17 novel categories).

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train oadp_ov_coco configs/dp/oadp_ov_coco.py

Needs COCO 2017, `python -m oadp.build_annotations`, the prompts `data/prompts/vild.pth` and
`data/prompts/ml_coco.pth`, the features of `oadp.oake` under `data/coco/oake/`, and SoCo's checkpoint
(README, section Preparation). Expected: 31.3 novel AP50 (`COCO_17_bbox_mAP_50`) at iteration 32,000,
as published by the authors (8 GPUs with 2 images each).
"""

_base_ = ['datasets/ov_coco.py', 'models/oadp.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(
                type='ViLDClassifier',
                prompts='data/prompts/vild.pth',
                scaler=dict(train=0.007, val=0.01),
            ),
        ),
        object_head=dict(
            cls_predictor_cfg=dict(type='Classifier', prompts='data/prompts/ml_coco.pth'),
        ),
        block_head=dict(
            cls_predictor_cfg=dict(type='Classifier', prompts='data/prompts/ml_coco.pth'),
        ),
    ),
    global_head=dict(
        classifier=dict(type='Classifier', prompts='data/prompts/ml_coco.pth'),
    ),
)

trainer = dict(
    optimizer=dict(
        paramwise_cfg=dict(custom_keys={'roi_head.bbox_head': dict(lr_mult=0.5)}),
    ),
)
