"""The embedded benchmark's detector, taught by the whole pyramid: objects, blocks, the image.

    python -m oadp.dp.train mini/oadp configs/mini/oadp.py

`python -m oadp.mini` makes what this needs and runs it beside `none.py` and `vild.py`. The figures
are in the README, section "The demo".
"""

_base_ = ['../dp/models/oadp.py', 'detector.py', 'data.py', 'schedule.py']

WARMUP = 50

# Weights of ../dp/models/oadp.py for embeddings of 64 instead of 512: × √(64 / 512) for a mean of
# absolute differences. The whole image's weighs less still: it shows several objects at once.
model = dict(
    roi_head=dict(block_head=dict(topk=5)),
    global_head=dict(
        topk=5,
        classifier=dict(
            prompts='data/mini/prompts/vild.pth',
            in_features=64,
            scaler=dict(train=1 / 15, val=1 / 15),
        ),
    ),
    distiller=dict(
        losses=dict(
            loss_clip_objects=dict(action=dict(weight=dict(gain=90.0, end=WARMUP))),
            loss_clip_blocks=dict(action=dict(weight=dict(gain=45.0, end=WARMUP))),
            loss_clip_block_relations=dict(action=dict(weight=dict(gain=8.0, end=WARMUP))),
            loss_clip_global=dict(action=dict(weight=dict(gain=0.125, end=WARMUP))),
        ),
    ),
)
