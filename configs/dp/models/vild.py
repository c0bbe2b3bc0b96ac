"""ViLD: an object head that is trained to predict CLIP's features of object proposals.

The hook returns the object head's normalized embeddings; `clip_objects` is part of the batch.
"""

_base_ = ['faster_rcnn_r50_fpn.py']

model = dict(
    type='ViLD',
    roi_head=dict(
        type='ViLDEnsembleRoIHead',
        # Keys that are not given here are those of `bbox_head`.
        object_head=dict(type='Shared4Conv1FCObjectBBoxHead'),
    ),
    distiller=dict(
        type='SelfDistiller',
        student_hooks=dict(
            objects=dict(
                inputs=(),
                action=dict(type='StandardHook', path='.roi_head._object_head.fc_cls._linear'),
            ),
        ),
        adapts=dict(),
        losses=dict(
            loss_clip_objects=dict(
                inputs=('objects', 'clip_objects'),
                action=dict(
                    type='L1Loss',
                    weight=dict(type='WarmupScheduler', gain=256.0, end=200),
                ),
            ),
        ),
    ),
)
