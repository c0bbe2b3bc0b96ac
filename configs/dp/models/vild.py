"""ViLD: an object head that learns CLIP's features of the object boxes.

The hook is on the object head's normalised embeddings; `clip_objects` comes with the batch.
"""

_base_ = ['faster_rcnn_r50_fpn.py']

model = dict(
    type='ViLD',
    roi_head=dict(
        type='ViLDEnsembleRoIHead',
        # What a head does not name is as in `bbox_head`.
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
