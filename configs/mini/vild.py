"""The embedded benchmark's detector, taught by CLIP's features of objects (ViLD).

    python -m oadp.dp.train mini/vild configs/mini/vild.py

`python -m oadp.mini` makes what this needs and runs it beside `none.py` and `oadp.py`. The figures
are in the README, section "The demo".
"""

_base_ = ['../dp/models/vild.py', 'detector.py', 'object_head.py', 'data.py', 'schedule.py']

# The mean of absolute differences shrinks with the root of the embedding's size: 256 × √(64 / 512).
model = dict(
    distiller=dict(
        losses=dict(loss_clip_objects=dict(action=dict(weight=dict(gain=90.0, end=50))))
    ),
)
