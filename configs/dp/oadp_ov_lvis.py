"""OADP with masks on OV-LVIS (866 base, 337 novel categories: the rare ones).

    [DRY_RUN=True] (python|torchrun --nproc_per_node=${GPUS}) -m oadp.dp.train oadp_ov_lvis configs/dp/oadp_ov_lvis.py

Needs LVIS v1, `python -m oadp.build_annotations`, `python -m oadp.prompts.detpro`, the features of
`oadp.oake` under `data/lvis_v1/oake/`, and SoCo's checkpoint (README, section Preparation).
Expected: a user of the authors' code reported 18.2 box APr with the global head, which this config has. The
published 20.7 box APr and 19.9 mask APr are those of a model without it: `oadp_ov_lvis_released.py`. That
released checkpoint can be tested with this config, too, as inference does not use the global head.
"""

_base_ = ['datasets/ov_lvis.py', 'models/mask.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(
                type='ViLDClassifier',
                prompts='data/prompts/detpro_lvis.pth',
                scaler=dict(train=0.01, val=0.007),
            ),
        ),
    ),
    global_head=dict(
        classifier=dict(
            type='ViLDClassifier',
            prompts='data/prompts/detpro_lvis.pth',
            scaler=dict(train=0.007, val=0.01),
        ),
    ),
)
