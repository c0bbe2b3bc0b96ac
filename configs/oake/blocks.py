"""CLIP features of COCO's blocks; LVIS uses them too, by link.

python -m oadp.oake.blocks oake/blocks configs/oake/blocks.py
"""

_base_ = ['_base_.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/train2017',
            annFile='data/coco/annotations/instances_train2017.json',
            output_dir='data/coco/oake/blocks/train2017',
        ),
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/val2017',
            annFile='data/coco/annotations/instances_val2017.json',
            output_dir='data/coco/oake/blocks/val2017',
        ),
    ),
)
log = dict(interval=10)
