"""The embedded benchmark's ablation: objects and blocks, without their relations and the image.

    python -m oadp.mini --settings none vild objects_blocks objects_blocks_relations oadp

trains all settings and prints the differences to ViLD (with `--seeds 2` or more). Not measured, as
the complete pyramid does not gain over ViLD on this benchmark (docs/demo.md).
"""

_base_ = ['../oadp.py']

model = dict(
    global_head=None,
    distiller=dict(losses=dict(loss_clip_block_relations=None, loss_clip_global=None)),
)
