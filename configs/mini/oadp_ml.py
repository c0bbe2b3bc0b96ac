"""The embedded benchmark's OADP with learned prompts where the full-size config has them.

    python -m oadp.prompts.ml_coco configs/prompts/ml_mini.py
    python -m oadp.dp.train mini/oadp_ml configs/mini/oadp_ml.py

The object, block and global heads use multi-label prompts, as in `../dp/oadp_ov_coco.py`. Needs
what `make demo` leaves behind. docs/prompts.md compares the results with those of `oadp.py`.
"""

_base_ = ['oadp.py']

LEARNED = dict(type='Classifier', prompts='data/mini/prompts/ml.pth')

model = dict(
    roi_head=dict(
        # Of another type, so that no argument of the replaced classifier may remain.
        object_head=dict(cls_predictor_cfg=dict(_delete_=True, **LEARNED)),
        block_head=dict(cls_predictor_cfg=LEARNED),
    ),
    global_head=dict(
        classifier=dict(_delete_=True, in_features=64, out_features=None, **LEARNED),
    ),
)
