"""Features of the embedded benchmark's training images, whole.

python -m oadp.oake.globals mini/oake/globals configs/mini/globals.py
"""

_base_ = ['oake.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/mini/oake/globals/train')))
log = dict(interval=200)
