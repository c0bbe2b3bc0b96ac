"""Common settings of the extraction of CLIP features: CLIP, the loaders, and COCO's images.

- `precision`: 'auto' (fp16 on a GPU; on a CPU bf16 where it is fast, else fp32), 'fp32', 'bf16' or
  'fp16'.
- `mini_batch_size`: number of inputs encoded together; None chooses by the device (objects: 512 on
  a GPU).
"""

clip = 'pretrained/clip/ViT-B-32.pt'
precision = 'auto'
mini_batch_size = None
train = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/train2017',
            annFile='data/coco/annotations/instances_train2017.json',
            auto_fix=False,
        ),
        num_workers=4,
    ),
)
val = dict(
    dataloader=dict(
        dataset=dict(
            root='data/coco/val2017',
            annFile='data/coco/annotations/instances_val2017.json',
            auto_fix=False,
        ),
        num_workers=4,
    ),
)
