"""CLIP features of the embedded benchmark's training images, whole.

    python -m oadp.oake.globals mini/oake/globals configs/mini/oake/globals.py

Base of `blocks.py` and `objects.py`: all three are of training images, the only ones to train on.
"""

clip = 'pretrained/mini/clip.pt'
precision = 'auto'
mini_batch_size = None

train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/mini/train',
            annFile='data/mini/annotations/instances_train.64.json',
            output_dir='data/mini/oake/globals/train',
            auto_fix=False,
        ),
        num_workers=0,
    ),
)
log = dict(interval=200)
