"""The embedded benchmark's detector, taught by the whole pyramid: objects, blocks, the image.

    python -m oadp.dp.train mini/oadp configs/mini/oadp.py

`python -m oadp.mini` makes what this needs and runs it beside `none.py` and `vild.py`. The figures
are in the README, section "The demo".
"""

_base_ = ['../dp/models/oadp.py', 'detector.py', 'object_head.py', 'data.py', 'schedule.py']

WARMUP = 50

# The objects' weight is that of ../dp/models/oadp.py for embeddings of 64 instead of 512: × √(64 / 512) for a
# mean of absolute differences, × 64 / 512 of squares. Blocks and the image weigh a third of what that makes
# (45, 8, 64): this CLIP knows 97 % of the objects by themselves, but 78 % of what it sees in blocks. Chosen on
# pictures that neither training nor evaluation uses (`python -m oadp.mini.world --seed 1`).
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
            loss_clip_blocks=dict(action=dict(weight=dict(gain=15.0, end=WARMUP))),
            loss_clip_block_relations=dict(action=dict(weight=dict(gain=2.7, end=WARMUP))),
            loss_clip_global=dict(action=dict(weight=dict(gain=21.0, end=WARMUP))),
        ),
    ),
)
