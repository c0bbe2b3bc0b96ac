"""OADP on a Faster R-CNN, Swin-T (arXiv:2103.14030), FPN, on OV-COCO.

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train others/faster_rcnn_swin_t_fpn configs/dp/others/faster_rcnn_swin_t_fpn.py

Needs what `../oadp_ov_coco.py` needs, except for SoCo's checkpoint: training starts from Swin-T's weights for
ImageNet-1K, which mmcv downloads. The backbone's settings and the optimizer are mmdet's for Swin-T.
Expected: not run; no figure is published for this file.
"""

_base_ = ['../oadp_ov_coco.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        mlp_ratio=4,
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.2,
        patch_norm=True,
        out_indices=(0, 1, 2, 3),
        with_cp=False,
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

trainer = dict(
    optimizer=dict(
        _delete_=True,
        type='AdamW',
        lr=1e-4,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        paramwise_cfg=dict(
            custom_keys={
                'absolute_pos_embed': dict(decay_mult=0.0),
                'relative_position_bias_table': dict(decay_mult=0.0),
                'norm': dict(decay_mult=0.0),
                'roi_head.bbox_head': dict(lr_mult=0.5),
            },
        ),
    ),
    lr_config=dict(warmup_iters=1000),
    load_from=None,
)
