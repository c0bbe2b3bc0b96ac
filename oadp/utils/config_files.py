"""Find a config file: in the current directory, or among those that are installed with the package."""

__all__ = ['find_config', 'shipped_configs']

import os
import pathlib

from oadp.utils import runtime

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_PREFIX = 'configs'
"""The folder of the configs in a checkout, with which the documentation writes their paths."""

_logger = runtime.get_logger()


def shipped_configs() -> pathlib.Path:
    """Return the folder of the shipped configs: ``oadp/configs`` if installed, else the checkout's."""
    installed = _PACKAGE / _PREFIX
    return installed if installed.is_dir() else _PACKAGE.parent / _PREFIX


def find_config(path: str | os.PathLike) -> pathlib.Path:
    """Return a config file.

    Args:
        path: a file, absolute or relative to the current directory; or, if there is no such file,
            the name of a shipped config: ``configs/dp/oadp_ov_coco.py``, ``dp/oadp_ov_coco`` or
            ``oadp_ov_coco``. If a shipped config is used, a log line says so.

    Raises:
        FileNotFoundError: there is neither such a file nor such a shipped config.
        ValueError: several shipped configs have this name; all are listed.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return path
    found = _find_shipped(path)
    if not found:
        raise FileNotFoundError(
            f'{path}: no such config; expected a file, or the name of a shipped config, such as '
            'configs/dp/oadp_ov_coco.py or oadp_ov_coco'
        )
    if len(found) > 1:
        names = [f.relative_to(shipped_configs()).with_suffix('').as_posix() for f in found]
        raise ValueError(f'{path}: several shipped configs have this name: {", ".join(names)}')
    _logger.info('%s: using the shipped config %s', path, found[0])
    return found[0]


def _find_shipped(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_absolute() or '..' in path.parts:
        return []
    folder = shipped_configs()
    if path.parts[:1] == (_PREFIX,):
        file = folder.joinpath(*path.parts[1:])
        return [file] if file.is_file() else []
    if path.suffix:  # a file name, which means a file of the user
        return []
    if len(path.parts) > 1:
        file = (folder / path).with_suffix('.py')
        return [file] if file.is_file() else []
    return sorted(folder.rglob(f'{path.name}.py')) if path.name else []
