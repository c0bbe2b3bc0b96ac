"""Multi-label prompts for OV-COCO, the `ml_coco.pth` of configs/dp/oadp_ov_coco.py.

    (python|torchrun --nproc_per_node=${GPUS}) -m oadp.prompts.ml_coco [configs/prompts/ml_coco.py]

Needs `python -m oadp.build_annotations` and the blocks features of `oadp.oake`. Hyperparameters are
the authors'. 4 epochs are 29,572 iterations: hours on a CPU. Not verified: training with the
real CLIP on COCO, and the time on a GPU.
"""

categories = 'coco'
clip = 'pretrained/clip/ViT-B-32.pt'
out = 'data/prompts/ml_coco.pth'

train = dict(
    features='data/coco/oake/blocks/train2017',
    ann_file='data/coco/annotations/instances_train2017.48.json',
)
val = dict(  # for mAP only; None: no evaluation
    features='data/coco/oake/blocks/val2017',
    ann_file='data/coco/annotations/instances_val2017.65.json',
)
num_workers = 2

# Initial values of the logits scaler · cosine − bias. bias=None sets it so that a logit of 0 lies
# halfway between the classes that images show and the others, for a CLIP whose cosines differ from
# OpenAI's.
prompts = dict(context='a photo of a', scaler=20.0, bias=4.0)
loss = dict(weight=640, gamma_neg=4, gamma_pos=0, clip=0.05)
optimizer = dict(lr=5e-2, weight_decay=1e-3)
batch_size = 16  # images, of all processes together
epochs = 4
seed = 3407

log_interval = 50  # iterations
checkpoint_interval = 1000  # iterations
