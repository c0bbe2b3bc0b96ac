"""The embedded benchmark's OADP: distillation of the whole pyramid, objects, blocks and the image.

    python -m oadp.dp.train mini/oadp configs/mini/oadp.py

`python -m oadp.mini` makes what this needs and runs it beside `none.py` and `vild.py`. The figures are in
docs/demo.md.

What it adds to `vild.py` is what `../dp/models/oadp.py` adds to ViLD. The weights of the losses are the
full-size ones, scaled to embeddings of 128 where a loss depends on their size: of the blocks 128 × √(128 /
512), of the image 512 × 128 / 512. A third of these was no better (docs/history.md).
"""

_base_ = ['vild.py']

model = dict(
    type='OADP',
    roi_head=dict(
        type='OADPRoIHead',
        block_head=dict(
            type='Shared2FCBlockBBoxHead',
            topk=5,
            loss=dict(
                type='AsymmetricLoss',
                gamma_neg=4.0,
                gamma_pos=0.0,
                weight=dict(type='ConstantScheduler', gain=16 / 1000),
            ),
        ),
    ),
    global_head=dict(
        topk=5,
        classifier=dict(
            type='ViLDClassifier',
            prompts='data/mini/prompts/vild.pth',
            in_features=64,
            out_features=None,  # from `categories`
            scaler=dict(train=1 / 15, val=1 / 15),
        ),
        loss=dict(
            type='AsymmetricLoss',
            gamma_neg=4.0,
            gamma_pos=0.0,
            weight=dict(type='ConstantScheduler', gain=4 / 2000),
        ),
    ),
    distiller=dict(
        student_hooks=dict(
            blocks=dict(
                inputs=(),
                action=dict(type='StandardHook', path='.roi_head._block_head.fc_cls._linear'),
            ),
            global_=dict(
                inputs=(),
                action=dict(type='StandardHook', path='._global_head._classifier._linear'),
            ),
        ),
        losses=dict(
            loss_clip_blocks=dict(
                inputs=('blocks', 'clip_blocks'),
                action=dict(
                    type='L1Loss',
                    weight=dict(type='WarmupScheduler', gain=64.0, end=50),
                ),
            ),
            loss_clip_block_relations=dict(
                inputs=('blocks', 'clip_blocks'),
                action=dict(
                    type='RKDLoss',
                    weight=dict(type='WarmupScheduler', gain=8.0, end=50),
                ),
            ),
            loss_clip_global=dict(
                inputs=('global_', 'clip_global'),
                action=dict(
                    type='MSELoss',
                    weight=dict(type='WarmupScheduler', gain=128.0, end=50),
                ),
            ),
        ),
    ),
)
