"""CLIP features of the proposals in the embedded benchmark's training images.

python -m oadp.oake.objects mini/oake/objects configs/mini/oake/objects.py
"""

_base_ = ['globals.py']

train = dict(
    dataloader=dict(
        dataset=dict(
            output_dir='data/mini/oake/objects/train',
            proposal_file='data/mini/proposals/rpn_train.pkl',
            proposal_sorted=True,
            expand_mode='LONGEST_EDGE',
        ),
    ),
)
