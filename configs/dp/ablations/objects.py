"""Ablation on OV-COCO: only objects, without blocks and the whole image.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/objects configs/dp/ablations/objects.py

Needs what `../oadp_ov_coco.py` needs, but only the features of objects. It differs from
`../vild_ov_coco.py` in prompts and temperatures, and in the learning rate of the box head.
Expected: not run; no figure is published for this file. docs/method.md has all rows.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    roi_head=dict(block_head=None),
    global_head=None,
    distiller=dict(
        losses=dict(
            loss_clip_blocks=None,
            loss_clip_block_relations=None,
            loss_clip_global=None,
        ),
    ),
)
