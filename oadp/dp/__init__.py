"""The detector: distillation pyramid on a Faster R-CNN of mmdet 2.x.

Importing this package registers its modules with mmdet and todd, so that configs can name them; an
mmdet config does it by ``custom_imports = dict(imports=['oadp.dp'])``. Before that, the adapters are
put in place that mmcv and mmdet need (``oadp.compat``).
"""

__all__ = ['build_dataset', 'build_detector']

from ..compat import install, quiet_imports

install()
with quiet_imports():
    from . import classifiers, detectors, heads, losses, pipelines, roi_heads  # noqa: F401
    from .build import build_detector
    from .datasets import build_dataset
