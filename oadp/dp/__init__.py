"""The detector: distillation pyramid on a Faster R-CNN of mmdet 2.x.

Importing this package registers its modules with mmdet and todd, so that configs can name them; an
mmdet config does it by ``custom_imports = dict(imports=['oadp.dp'])``. Before that, the adapters are
put in place that mmcv and mmdet need (``oadp.compat``).

Only ``python -m oadp.dp.NAME`` registers later: Python imports the package to find the command, which
then parses its arguments, without the seconds that mmdet takes, and calls :func:`register`.
"""

__all__ = ['build_dataset', 'build_detector', 'register']

import functools
import importlib
import sys
from typing import Any

_BUILDERS = {'build_dataset': 'oadp.dp.data.datasets', 'build_detector': 'oadp.dp.build'}
"""The functions that the package offers, and their modules."""


@functools.cache
def register() -> None:
    """Register the modules with mmdet and todd. Further calls do nothing."""
    from oadp.compat import install, quiet_imports

    install()
    with quiet_imports():
        from oadp.dp.data import datasets, pipelines  # noqa: F401
        from oadp.dp.engine import runners  # noqa: F401
        from oadp.dp.models import classifiers, detectors, heads, losses, roi_heads  # noqa: F401


def __getattr__(name: str) -> Any:
    if name in _BUILDERS:
        register()
        return getattr(importlib.import_module(_BUILDERS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _is_locating_command() -> bool:
    """Whether Python is importing the package to find the module of ``-m oadp.dp.NAME``.

    In that moment, and only then, ``sys.argv[0]`` is ``-m``, as Python documents.
    """
    if sys.argv[:1] != ['-m']:
        return False
    words = iter(sys.orig_argv)
    return '-m' in words and next(words, '').startswith(f'{__name__}.')


if not _is_locating_command():
    register()
