"""The embedded benchmark: 500 steps of eight images."""

trainer = dict(
    # Fused, which needs PyTorch 2.4 on a CPU: 7 ms a step on one core instead of 44.
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    optimizer_config=dict(grad_clip=dict(max_norm=10.0)),
    auto_scale_lr=dict(enable=False),
    lr_config=dict(
        policy='CosineAnnealing',
        min_lr=0.0,
        by_epoch=False,
        warmup='linear',
        warmup_iters=50,
        warmup_ratio=0.01,
    ),
    runner=dict(type='IterBasedRunner', max_iters=500),
    workflow=[('train', 1)],
    checkpoint_config=dict(by_epoch=False, interval=500),
    # Evaluated once, at the end, by `oadp.dp.test`: nothing is chosen by the validation images.
    evaluation=None,
    log_config=dict(interval=50, hooks=[dict(type='TextLoggerHook', by_epoch=False)]),
    custom_hooks=[dict(type='NumClassCheckHook')],
    resume_from=None,
    seed=0,
)
