"""CLIP features of COCO's blocks; LVIS uses the same files, by a link.

python -m oadp.oake.blocks oake/blocks configs/oake/blocks.py
"""

_base_ = ['_base_.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/blocks/train2017')))
val = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/blocks/val2017')))
log = dict(interval=10)
