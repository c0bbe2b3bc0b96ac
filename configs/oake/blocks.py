"""CLIP features of COCO's blocks. LVIS uses the same files, by a link.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.oake.blocks oake/blocks configs/oake/blocks.py

Needs COCO 2017 and OpenAI's ViT-B/32 (README, section Preparation). Writes a file per image to
`data/coco/oake/blocks/{train,val}2017`; docs/oake.md has their format.
"""

_base_ = ['_base_.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/blocks/train2017')))
val = dict(dataloader=dict(dataset=dict(output_dir='data/coco/oake/blocks/val2017')))
log = dict(interval=10)
