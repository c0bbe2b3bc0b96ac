"""OV-COCO: 40,000 steps of 16 images; a tenth of the learning rate for the last 10,000."""

_base_ = ['sgd.py']

trainer = dict(
    lr_config=dict(step=[30000]),
    runner=dict(type='IterBasedRunner', max_iters=40000),
    checkpoint_config=dict(interval=2000),
    evaluation=dict(interval=2000, metric=['bbox']),
)
