"""CLIP features of proposals in COCO's images.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.oake.objects oake/objects configs/oake/objects_coco.py

Needs COCO 2017, OpenAI's ViT-B/32 and the proposals in `data/coco/proposals` (README, section
Preparation). Writes a file per image to `data/coco/oake/objects/{train,val}2017`.

`expand_mode`: how a proposal becomes a crop: 'ADAPTIVE', 'LONGEST_EDGE', 'CONSTANT', 'RECTANGLE'.
"""

_base_ = ['_base_.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            type='COCO',
            output_dir='data/coco/oake/objects/train2017',
            proposal_file='data/coco/proposals/oln_r50_fpn_coco_train.pkl',
            proposal_sorted=True,
            expand_mode='ADAPTIVE',
        ),
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            type='COCO',
            output_dir='data/coco/oake/objects/val2017',
            proposal_file='data/coco/proposals/oln_r50_fpn_coco_val.pkl',
            proposal_sorted=True,
            expand_mode='ADAPTIVE',
        ),
    ),
)
log = dict(interval=5)
