"""OADP: ViLD with distillation of blocks and of the whole image in addition (paper, section 3).

Two more heads classify blocks and images (asymmetric loss with constant weights, as in all published
results) and are trained to predict CLIP's features of them. A relation loss compares the similarities
of the blocks to one another.
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
        topk=20,
        classifier=dict(
            type='ViLDClassifier',
            prompts='data/prompts/vild.pth',
            in_features=256,
            out_features=None,  # from `categories`
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
                    weight=dict(type='WarmupScheduler', gain=128.0, end=200),
                ),
            ),
            loss_clip_block_relations=dict(
                inputs=('blocks', 'clip_blocks'),
                action=dict(
                    type='RKDLoss',
                    weight=dict(type='WarmupScheduler', gain=8.0, end=200),
                ),
            ),
            # The authors' loss is a sum over the images of a process, times 0.5. For their two images with
            # embeddings of 512 this is the same, and it does not change with the images of a process.
            loss_clip_global=dict(
                inputs=('global_', 'clip_global'),
                action=dict(
                    type='MSELoss',
                    weight=dict(type='WarmupScheduler', gain=0.5 * 2 * 512, end=200),
                ),
            ),
        ),
    ),
)
