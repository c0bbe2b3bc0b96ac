"""The embedded benchmark's ablation: objects and blocks, without their relations and the image.

    python -m oadp.mini --settings none vild objects_blocks objects_blocks_relations oadp

trains all settings; docs/demo.md has the figures.
"""

_base_ = ['../oadp.py']

model = dict(
    global_head=None,
    distiller=dict(losses=dict(loss_clip_block_relations=None, loss_clip_global=None)),
)
