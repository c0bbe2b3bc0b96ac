"""The error lists everything that cannot be exported."""

import pytest
from torch import nn

from oadp import Detector
from oadp.dp.export.graph import check_exportable


def test_other_detectors():
    with pytest.raises(ValueError, match='Linear cannot be exported: expected a ViLD or OADP'):
        check_exportable(nn.Linear(1, 1))


def test_other_parts(thin):
    detector = Detector.from_checkpoint('oadp_ov_lvis.py', 'oadp_ov_lvis.pth', device='cpu')
    model = detector._own.model
    check_exportable(model)
    model.rpn_head.use_sigmoid_cls = False
    model.roi_head.mask_head.class_agnostic = False
    model.roi_head.mask_roi_extractor.roi_layers[0].pool_mode = 'max'
    model.roi_head.bbox_head.bbox_coder = nn.Identity()
    model.rpn_head.test_cfg.nms.type = 'soft_nms'
    with pytest.raises(ValueError) as e:
        check_exportable(model)
    for fault in (
        'roi_head.bbox_head.bbox_coder is a Identity, expected DeltaXYWHBBoxCoder',
        'rpn_head.use_sigmoid_cls is False, expected True',
        'mask_head.class_agnostic is False',
        "mask_roi_extractor.roi_layer.pool_mode is 'max', expected 'avg'",
        "test_cfg.rpn.nms is {'type': 'soft_nms'",
    ):
        assert fault in str(e.value)
