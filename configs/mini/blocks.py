"""Features of blocks of the embedded benchmark's training images.

python -m oadp.oake.blocks mini/oake/blocks configs/mini/blocks.py
"""

_base_ = ['oake.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/mini/oake/blocks/train')))
log = dict(interval=200)
