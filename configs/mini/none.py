"""The embedded benchmark's detector without distillation: text embeddings alone.

    python -m oadp.dp.train mini/none configs/mini/none.py

What it knows of a novel class is how its name compares with those of base classes.
`python -m oadp.mini` makes what this needs and runs it beside `vild.py` and `oadp.py`, from which it
differs in the distillation only. The figures are in the README, section "The demo".
"""

_base_ = ['../dp/models/faster_rcnn_r50_fpn.py', 'detector.py', 'data.py', 'schedule.py']

# No object head: nothing would train it.
model = dict(type='ViLD', roi_head=dict(type='ViLDEnsembleRoIHead'))
