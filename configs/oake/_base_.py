"""What the extractions of CLIP features share.

`precision`: 'auto' (fp16 on a GPU; on a CPU bf16 where it is fast, else fp32), 'fp32', 'bf16', 'fp16'.
`mini_batch_size`: inputs that are encoded together; None chooses by the device (objects: 512 on a GPU).
"""

clip = 'pretrained/clip/ViT-B-32.pt'
precision = 'auto'
mini_batch_size = None
train = dict(dataloader=dict(dataset=dict(auto_fix=False), num_workers=4))
val = dict(dataloader=dict(dataset=dict(auto_fix=False), num_workers=4))
