"""Common settings of 40k.py and 24e.py: SGD with 16 images per step, from SoCo's weights."""

trainer = dict(
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=2.5e-5),
    auto_scale_lr=dict(enable=True, base_batch_size=16),  # 8 GPUs with 2 images each
    optimizer_config=dict(grad_clip=None),
    lr_config=dict(policy='step', warmup='linear', warmup_iters=500, warmup_ratio=0.001),
    workflow=[('train', 1)],
    checkpoint_config=dict(max_keep_ckpts=-1),
    log_config=dict(
        interval=50,
        hooks=[
            dict(type='TextLoggerHook', by_epoch=False),
            dict(type='TensorboardLoggerHook', by_epoch=False),
        ],
    ),
    custom_hooks=[dict(type='NumClassCheckHook')],
    fp16=dict(loss_scale=dict(init_scale=64.0)),  # on a GPU only; dynamic
    load_from='pretrained/soco/soco_star_mask_rcnn_r50_fpn_400e.pth',
    resume_from=None,
    find_unused_parameters=False,
    seed=3407,
)
