"""OADP on a Faster R-CNN, ResNet-101, FPN, on OV-COCO.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train others/faster_rcnn_r101_fpn configs/dp/others/faster_rcnn_r101_fpn.py

Needs what `../oadp_ov_coco.py` needs, except for SoCo's checkpoint: training starts from torchvision's
ResNet-101, which mmcv downloads.
Expected: not run; no figure is published for this file.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    backbone=dict(
        depth=101,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
)

trainer = dict(load_from=None)
