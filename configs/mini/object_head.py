"""The embedded benchmark's object head, to list in `_base_` after the detectors that have one.

It compares at its CLIP's temperature, in training and in evaluation; `detector.py` has another for the box head.
"""

TEMPERATURE = 1 / 15

model = dict(
    roi_head=dict(
        object_head=dict(
            cls_predictor_cfg=dict(
                type='ViLDClassifier',
                prompts='data/mini/prompts/vild.pth',
                scaler=dict(train=TEMPERATURE, val=TEMPERATURE),
            ),
        ),
    ),
)
