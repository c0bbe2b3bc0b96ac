"""The embedded benchmark's detector without distillation.

    python -m oadp.dp.train mini/none configs/mini/none.py

It recognizes a novel class only by the similarity of its name to those of the base classes.
`python -m oadp.mini` makes what this needs and runs it beside `vild.py` and `oadp.py`, which are built
upon it and differ in the distillation only. The figures are in docs/demo.md.

The modules are those of the full-size detector: the first three stages of a ResNet-18 of half the
width, and a feature pyramid of 64 channels on strides 4 to 16. Images have about 112 pixels, objects
20 to 60 before rotation.
"""

_base_ = ['../dp/models/faster_rcnn_r50_fpn.py', '../dp/datasets/mini.py']

clip = 'pretrained/mini/clip.pt'

# As COCO's detectors start from SoCo, these start from the region proposal network: 500 steps are
# few for training a backbone from random weights. It was trained on boxes of base classes only.
trainer = dict(load_from='work_dirs/mini/seed0/rpn/latest.pth')

model = dict(
    type='ViLD',
    backbone=dict(
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        frozen_stages=-1,
        norm_eval=False,
        style='pytorch',
        init_cfg=None,
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=64, num_outs=3, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[6], strides=[4, 8, 16]),
    ),
    roi_head=dict(
        type='ViLDEnsembleRoIHead',  # without an object head, which nothing would train
        # Boxes of up to 56 pixels are pooled from stride 4, as those of up to 112 of the full size.
        bbox_roi_extractor=dict(out_channels=64, featmap_strides=[4, 8, 16], finest_scale=28),
        bbox_head=dict(
            in_channels=64,
            conv_out_channels=64,
            fc_out_channels=512,
            norm_cfg=dict(type='BN'),
            cls_predictor_cfg=dict(
                prompts='data/mini/prompts/vild.pth',
                scaler=dict(train=1 / 15, val=1 / 15),  # CLIP's temperature, in evaluation as well
            ),
        ),
    ),
    train_cfg=dict(
        # As many negatives as positives. Unlabelled novel objects are among the negatives, and an
        # image of this size has about 3,100 anchors, where COCO's have 268,000: of the 256 anchors that
        # mmdet samples from these, hardly any is on such an object; here they would be a large part
        # of the negatives.
        rpn=dict(sampler=dict(num=64, neg_pos_ub=1)),
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),  # few negatives, for the same reason
    ),
    test_cfg=dict(
        # Few, as an image has 2 to 4 objects: 100 proposals cost 6 points of ViLD's novel AP50 on the
        # development dataset by false detections, and 50 cost 2.
        rpn=dict(nms_pre=500, max_per_img=25),
        # Lower than 0.5: objects cover at most a fifth of one another here (`oadp/mini/scene.py`),
        # while a box of half an object scores nearly as high as that of the whole object.
        rcnn=dict(nms=dict(iou_threshold=0.3), max_per_img=100),
    ),
)
