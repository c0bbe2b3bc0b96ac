"""CLIP features of COCO's whole images. LVIS uses the same files, by a link.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.oake.globals oake/globals configs/oake/globals.py

Needs COCO 2017 and OpenAI's ViT-B/32 (README, section Preparation). Writes a file per image to
`data/coco/oake/globals/{train,val}2017`; docs/oake.md has their format.
"""

_base_ = ['_base_.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/globals/train2017')))
val = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/globals/val2017')))
log = dict(interval=50)
