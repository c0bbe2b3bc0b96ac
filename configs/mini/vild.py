"""The embedded benchmark's ViLD: distillation of CLIP's features of objects.

    python -m oadp.dp.train mini/vild configs/mini/vild.py

`python -m oadp.mini` makes what this needs and runs it beside `none.py` and `oadp.py`. The figures are in
docs/demo.md.

What it adds to `none.py` is what `../dp/models/vild.py` adds to Faster R-CNN.
"""

_base_ = ['none.py']

model = dict(
    roi_head=dict(
        object_head=dict(
            type='Shared4Conv1FCObjectBBoxHead',
            cls_predictor_cfg=dict(
                type='ViLDClassifier',
                prompts='data/mini/prompts/vild.pth',
                scaler=dict(train=1 / 15, val=1 / 15),  # CLIP's temperature, in evaluation as well
            ),
        ),
    ),
    distiller=dict(
        type='SelfDistiller',
        student_hooks=dict(
            objects=dict(
                inputs=(),
                action=dict(type='StandardHook', path='.roi_head._object_head.fc_cls._linear'),
            ),
        ),
        adapts=dict(),
        losses=dict(
            # The mean of absolute differences shrinks with the square root of the embedding's size,
            # so the full-size weight is scaled: 256 × √(128 / 512).
            loss_clip_objects=dict(
                inputs=('objects', 'clip_objects'),
                action=dict(
                    type='L1Loss',
                    weight=dict(type='WarmupScheduler', gain=128.0, end=50),
                ),
            ),
        ),
    ),
)
