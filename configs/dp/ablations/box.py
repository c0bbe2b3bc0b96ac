"""Ablation on OV-COCO: only the box head, with text embeddings as classifier and no distillation.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/box configs/dp/ablations/box.py

Needs COCO 2017, its annotations, the prompts `data/prompts/vild.pth`, and SoCo's checkpoint (README,
section Preparation); no CLIP features.
Expected: not run; no figure is published for this file. docs/method.md has all rows.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    roi_head=dict(object_head=None, block_head=None),
    global_head=None,
    distiller=None,
)
