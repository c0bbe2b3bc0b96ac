"""CLIP features of blocks of the embedded benchmark's images.

    python -m oadp.oake.blocks mini/oake/blocks configs/mini/oake/blocks.py

Those of validation images are only used for the mAP that `oadp.prompts.ml_coco` reports.
"""

_base_ = ['globals.py']

train = dict(dataloader=dict(dataset=dict(output_dir='data/mini/oake/blocks/train')))
val = dict(
    dataloader=dict(
        dataset=dict(
            root='data/mini/val',
            annFile='data/mini/annotations/instances_val.96.json',
            output_dir='data/mini/oake/blocks/val',
            auto_fix=False,
        ),
        num_workers=0,
    ),
)
