"""CLIP features of proposals in COCO's images.

    python -m oadp.oake.objects oake/objects configs/oake/objects_coco.py

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
