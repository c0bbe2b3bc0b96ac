"""The detector: a distillation pyramid on Faster R-CNN of mmdet 2.x.

Importing this package registers its modules with mmdet and todd, so that configs can name them. A
config of mmdet imports it by ``custom_imports = dict(imports=['oadp.dp'])``. The adapters that mmcv
and mmdet need (``oadp.compat``) are installed first.

For ``python -m oadp.dp.NAME`` alone, the modules are registered later, as importing mmdet takes
seconds: Python imports the package to find the command, and the command calls :func:`register` after
parsing its arguments.
"""

__all__ = ['build_dataset', 'build_detector', 'register']

import functools
import importlib
import sys
from typing import Any

_BUILDERS = {'build_dataset': 'oadp.dp.data.build', 'build_detector': 'oadp.dp.build'}
"""The public functions of the package, and their modules."""


@functools.cache
def register() -> None:
    """Register the modules with mmdet and todd. Further calls do nothing."""
    from oadp.compat import install, quiet_imports

    install()
    with quiet_imports():
        from oadp.dp.data import clip_features, datasets, image_reading  # noqa: F401
        from oadp.dp.engine import hooks, runners  # noqa: F401
        from oadp.dp.models import classifiers, detectors, heads, losses, roi_heads  # noqa: F401


def __getattr__(name: str) -> Any:
    if name in _BUILDERS:
        register()
        return getattr(importlib.import_module(_BUILDERS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _is_locating_command() -> bool:
    """Return whether Python imports the package to find the module of ``-m oadp.dp.NAME``.

    Python documents that ``sys.argv[0]`` is ``-m`` during that import only.
    """
    if sys.argv[:1] != ['-m']:
        return False
    words = iter(sys.orig_argv)
    return '-m' in words and next(words, '').startswith(f'{__name__}.')


if not _is_locating_command():
    register()
