"""Ablation on OV-COCO: objects and blocks, without the relations of blocks and the whole image.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/objects_blocks configs/dp/ablations/objects_blocks.py

Needs what `../oadp_ov_coco.py` needs, except for the features of whole images.
Expected: not run; no figure is published for this file. docs/method.md has all rows.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    global_head=None,
    distiller=dict(losses=dict(loss_clip_block_relations=None, loss_clip_global=None)),
)
