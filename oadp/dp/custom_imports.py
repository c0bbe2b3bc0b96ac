"""Import the user's modules that a config names by ``custom_imports``, as mmdet's tools do."""

__all__ = ['import_custom_modules']

import importlib
from collections.abc import Mapping
from typing import Any

from oadp.utils import runtime

_KEYS = {'imports', 'allow_failed_imports'}


def import_custom_modules(config: Mapping[str, Any]) -> None:
    """Import the modules of ``custom_imports``, so that they register what the config names.

    A module is imported once per process, however often this is called.

    Args:
        config: a whole loaded config. Its ``custom_imports``, if any, is mmcv's
            ``dict(imports=['my_module'], allow_failed_imports=False)``; ``imports`` may be one name.

    Raises:
        ValueError: ``custom_imports`` has another form.
        ImportError: a module cannot be imported, and ``allow_failed_imports`` is not set. Names the
            module.
    """
    custom = config.get('custom_imports')
    if custom is None:
        return
    names = custom.get('imports') if isinstance(custom, Mapping) else None
    names = [names] if isinstance(names, str) else names
    if (
        not isinstance(names, (list, tuple))
        or not all(isinstance(name, str) for name in names)
        or not set(custom) <= _KEYS
    ):
        raise ValueError(
            f'custom_imports is {custom!r}: expected '
            "dict(imports=['my_module'], allow_failed_imports=False)"
        )
    for name in names:
        _import(name, custom.get('allow_failed_imports', False))


def _import(name: str, may_fail: bool) -> None:
    try:
        importlib.import_module(name)
    except ImportError as e:
        message = (
            f'custom_imports: {name} cannot be imported ({e}); install it and what it imports, or add '
            'its folder to PYTHONPATH'
        )
        if not may_fail:
            raise ImportError(message) from e
        runtime.get_logger().warning('%s', message)
