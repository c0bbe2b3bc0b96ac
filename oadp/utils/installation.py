"""The installation: the versions of packages, and whether they work together."""

__all__ = ['broken_requirements', 'installation_table']

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable, Mapping

from packaging.requirements import Requirement
from rich import box
from rich.table import Table

_PACKAGES = (
    'torch',
    'torchvision',
    'mmcv-full',
    'mmdet',
    'todd_ai',
    'numpy',
    'opencv-python',
    'clip-anytorch',
    'lvis',
    'nni',
    'gradio',
)
"""Packages whose versions are needed in a bug report."""

_OPTIONAL = ('nni', 'gradio')
"""Packages of extras, which only some commands need."""


def installation_table(checks: Mapping[str, Callable[[], str]]) -> tuple[Table, list[str]]:
    """Show the versions of the packages and run some checks.

    Args:
        checks: name to a function that returns a description, or raises if that part is broken.

    Returns:
        The table, and the faults as sentences.
    """
    faults = _check_requirements()
    table = Table('installation', '', box=box.SIMPLE_HEAD)
    table.add_row('Python', f'{platform.python_version()} ({sys.prefix})')
    for name in _PACKAGES:
        version = _version(name)
        missing = '- (an extra)' if name in _OPTIONAL else '[red]missing'
        table.add_row(name, version or missing)
    for name, check in checks.items():
        try:
            table.add_row(name, check())
        except Exception as e:  # a broken package may raise anything
            faults.append(f'{name}: {type(e).__name__}: {e}')
            table.add_row(name, '[red]broken')
    return table, faults


def broken_requirements(requirements: Iterable[str]) -> list[str]:
    """Return the requirements that are not met, as sentences.

    Args:
        requirements: such as ``'numpy<2,>=1.22'``; those of extras are checked only if the package is
            installed.
    """
    faults = []
    for text in requirements:
        requirement = Requirement(text)
        is_extra = requirement.marker is not None and 'extra' in str(requirement.marker)
        if requirement.marker is not None and not is_extra and not requirement.marker.evaluate():
            continue
        version = _version(requirement.name)
        if version is None and not is_extra:
            faults.append(f'{requirement.name} is not installed')
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            faults.append(
                f'{requirement.name} {version} is installed, expected {requirement.specifier}'
            )
    return faults


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_requirements() -> list[str]:
    try:
        return broken_requirements(importlib.metadata.requires('oadp') or [])
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a checkout that is not installed
