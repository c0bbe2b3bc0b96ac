"""CLIP features of COCO's whole images; LVIS uses the same files, by a link.

python -m oadp.oake.globals oake/globals configs/oake/globals.py
"""

_base_ = ['_base_.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/globals/train2017')))
val = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/globals/val2017')))
log = dict(interval=50)
