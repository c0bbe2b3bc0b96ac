"""OV-COCO: 40,000 steps of 16 images; the learning rate is divided by 10 after 30,000."""

_base_ = ['sgd.py']

trainer = dict(
    lr_config=dict(step=[30000]),
    runner=dict(type='IterBasedRunner', max_iters=40000),
    checkpoint_config=dict(interval=2000),
    evaluation=dict(interval=2000, metric=['bbox']),
)
