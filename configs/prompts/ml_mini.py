"""Multi-label prompts for the embedded benchmark. Needs what `make demo` leaves behind.

python -m oadp.prompts.ml_coco configs/prompts/ml_mini.py
"""

_base_ = ['ml_coco.py']

categories = 'data/mini/categories.json'
clip = 'pretrained/mini/clip.pt'
out = 'data/mini/prompts/ml.pth'

train = dict(
    features='data/mini/oake/blocks/train',
    ann_file='data/mini/annotations/instances_train.18.json',
)
val = dict(
    features='data/mini/oake/blocks/val',
    ann_file='data/mini/annotations/instances_val.27.json',
)
