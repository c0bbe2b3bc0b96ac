"""Ablation on OV-COCO: the complete pyramid, the same model as `../oadp_ov_coco.py`.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train ablations/objects_blocks_relations_global configs/dp/ablations/objects_blocks_relations_global.py

With it, a loop over the files of this folder trains every row of the ablation.
Needs what `../oadp_ov_coco.py` needs.
Expected: 31.3 novel AP50 (`COCO_17_bbox_mAP_50`) at iteration 32,000, see `../oadp_ov_coco.py`.
"""

_base_ = ['../oadp_ov_coco.py']
