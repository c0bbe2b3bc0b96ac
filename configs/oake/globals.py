"""CLIP features of COCO's whole images; LVIS uses them too, by link.

python -m oadp.oake.globals oake/globals configs/oake/globals.py
"""

_base_ = ['_base_.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/train2017',
            annFile='data/coco/annotations/instances_train2017.json',
            output_dir='data/coco/oake/globals/train2017',
        ),
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/val2017',
            annFile='data/coco/annotations/instances_val2017.json',
            output_dir='data/coco/oake/globals/val2017',
        ),
    ),
)
log = dict(interval=50)
