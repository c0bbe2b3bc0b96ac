"""CLIP features of proposals in LVIS's images.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.oake.objects oake/objects configs/oake/objects_lvis.py

Needs COCO 2017, LVIS v1, OpenAI's ViT-B/32 and the proposals in `data/lvis_v1/proposals` (README,
section Preparation). Writes a file per image to `data/lvis_v1/oake/objects/{train,val}2017`.

LVIS uses COCO's images; `coco_url` names the folder of each, `train2017` or `val2017`.
"""

_base_ = ['objects_coco.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            type='LVIS',
            root='data/coco',
            annFile='data/lvis_v1/annotations/lvis_v1_train.json',
            output_dir='data/lvis_v1/oake/objects/train2017',
            proposal_file='data/lvis_v1/proposals/oln_r50_fpn_lvis_train.pkl',
        ),
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            type='LVIS',
            root='data/coco',
            annFile='data/lvis_v1/annotations/lvis_v1_val.json',
            output_dir='data/lvis_v1/oake/objects/val2017',
            proposal_file='data/lvis_v1/proposals/oln_r50_fpn_lvis_val.pkl',
        ),
    ),
)
