"""Ablation on OV-COCO: the whole pyramid, which is `../oadp_ov_coco.py` by another name.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/objects_blocks_relations_global configs/dp/ablations/objects_blocks_relations_global.py

It is here so that a loop over this folder runs every row.
Expected: 31.3 novel AP50 (`COCO_17_bbox_mAP_50`) at iteration 32,000, see `../oadp_ov_coco.py`.
"""

_base_ = ['../oadp_ov_coco.py']
