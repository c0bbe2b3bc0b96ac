"""The sizes of the embedded benchmark's detector, to list in `_base_` after a detector of `../dp/models`.

The modules and what they do are those of the full-size detector.
"""

_base_ = ['body.py']

# As COCO's detectors start from SoCo, these start from the region proposal network: what a picture looks like
# need not be learned from 600 steps. It has seen boxes of base classes alone.
trainer = dict(load_from='work_dirs/mini/rpn/latest.pth')

PROMPTS = 'data/mini/prompts/vild.pth'
TEMPERATURE = 1 / 15  # that of the benchmark's CLIP
# The box head is less sure in evaluation than in training, as in `../dp/oadp_ov_coco.py`: of novel classes it has
# seen no box, and in the product it would outvote the object head. By how much was chosen on pictures that
# neither training nor evaluation uses (`python -m oadp.mini.world --seed 1`).
SOFT = 0.15

model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, featmap_strides=[8, 16, 32]),
        bbox_head=dict(
            in_channels=64,
            conv_out_channels=32,
            fc_out_channels=256,
            norm_cfg=dict(type='BN'),
            cls_predictor_cfg=dict(
                prompts=PROMPTS,
                scaler=dict(train=TEMPERATURE, val=SOFT),
            ),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),  # few negatives, as in body.py
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=500, max_per_img=100),
        # Below 0.5, as objects hide at most a fifth of one another here (`oadp/mini/scene.py`), while a box of
        # half an object scores nearly like that of the whole one.
        rcnn=dict(nms=dict(iou_threshold=0.3), max_per_img=100),
    ),
)
