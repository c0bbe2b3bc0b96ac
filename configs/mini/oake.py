"""What the embedded benchmark's three extractions share: no image but the training images is learned from."""

clip = 'pretrained/mini/clip.pt'
precision = 'auto'
mini_batch_size = None

train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/mini/train',
            annFile='data/mini/annotations/instances_train.18.json',
            auto_fix=False,
        ),
        num_workers=0,
    ),
)
