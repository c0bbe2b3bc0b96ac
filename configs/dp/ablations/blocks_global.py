"""Ablation on OV-COCO: blocks with their relations and the whole image, without objects.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/blocks_global configs/dp/ablations/blocks_global.py

Needs what `../oadp_ov_coco.py` needs, except for the features of objects. Without an object head, the
scores are those of the box head.
Expected: not run; no figure is published for this file. docs/method.md has all rows.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    roi_head=dict(object_head=None),
    distiller=dict(losses=dict(loss_clip_objects=None)),
)
