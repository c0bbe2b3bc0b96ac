"""OV-LVIS: 24 epochs with 16 images per step; the learning rate is divided by 10 after epochs 16 and 19."""

_base_ = ['sgd.py']

trainer = dict(
    lr_config=dict(step=[16, 19]),
    runner=dict(type='EpochBasedRunner', max_epochs=24),
    checkpoint_config=dict(interval=1),
    evaluation=dict(interval=4, metric=['bbox', 'segm']),
)
