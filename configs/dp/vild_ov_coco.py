"""ViLD-ensemble on OV-COCO (48 base, 17 novel categories), the baseline that OADP builds upon.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train vild_ov_coco configs/dp/vild_ov_coco.py

Needs COCO 2017, `python -m oadp.build_annotations`, the prompts `data/prompts/vild.pth`, the features of
`oadp.oake.objects` in `data/coco/oake/objects/`, and SoCo's checkpoint (README, section Preparation).
Expected: no figure is published for this file; the paper of ViLD gives 27.6 novel AP50 on this split
(Gu et al., arXiv:2104.13921), with another backbone checkpoint and schedule.
"""

_base_ = ['datasets/ov_coco.py', 'models/vild.py']
