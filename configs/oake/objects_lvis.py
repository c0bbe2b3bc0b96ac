"""CLIP features of proposals in LVIS's images.
Images are COCO's; `coco_url` says in which split's folder each of them is.

    python -m oadp.oake.objects oake/objects configs/oake/objects_lvis.py

`expand_mode`: how a proposal becomes a crop: 'ADAPTIVE', 'LONGEST_EDGE', 'CONSTANT', 'RECTANGLE'.
"""

_base_ = ['_base_.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            type='LVIS',
            root='data/coco',
            annFile='data/lvis_v1/annotations/lvis_v1_train.json',
            output_dir='data/lvis_v1/oake/objects/train2017',
            proposal_file='data/lvis_v1/proposals/oln_r50_fpn_lvis_train.pkl',
            proposal_sorted=True,
            expand_mode='ADAPTIVE',
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
            proposal_sorted=True,
            expand_mode='ADAPTIVE',
        ),
    ),
)
log = dict(interval=5)
