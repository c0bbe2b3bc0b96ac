"""A look at the installation, the device, the data and the weights.

``python -m oadp.doctor`` answers the two questions that come before any other: does what is
installed work together, and which command is to be run next. It exits with 1 only where the
installation itself is broken; missing data is a matter of what one wants to do.
"""

__all__ = ['broken_requirements', 'main']

import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable

from packaging.requirements import Requirement
from rich import box
from rich.console import Console
from rich.table import Table

from oadp.utils.command import ArgumentParser, run

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
"""The packages whose versions matter in a report of a problem."""

_OPTIONAL = ('nni', 'gradio')
"""Those of extras: without them everything but their commands works."""

_MIN_WIDTH = 140  # columns of the table where the output is a file or a pipe


def broken_requirements(requirements: Iterable[str]) -> list[str]:
    """What of a package's requirements is not met, as sentences.

    Args:
        requirements: such as ``'numpy<2,>=1.22'``; those of extras are checked only where the
            package is there.
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
                f'{requirement.name} {version} is installed, needed is {requirement.specifier}'
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
        return []  # run from its folder without being installed: what matters is whether it works


def _ops() -> str:
    from oadp import compat

    whose = compat.ops_in_use()
    note = '' if whose == 'mmcv-full' else ' (mmcv-full has none compiled; make install OPS=1)'
    return f'NMS and RoIAlign of {whose}{note}'


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        built = (
            f'torch is made for CUDA {torch.version.cuda}' if torch.version.cuda else 'CPU build'
        )
        return f'CPU, {torch.get_num_threads()} threads; no GPU in sight ({built})'
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = ', '.join(f'{d.name} ({d.total_memory / 2**30:.0f} GiB)' for d in devices)
    return f'{names}; CUDA {torch.version.cuda}'


def _clip() -> str:
    from oadp.clip.weights import import_clip

    import_clip()
    return 'imports'


_CHECKS: tuple[tuple[str, Callable[[], str]], ...] = (
    ('device', _device),
    ('ops', _ops),
    ('clip', _clip),
)


def _show_installation(console: Console) -> list[str]:
    """Prints the table of the installation; returns what is broken."""
    faults = _check_requirements()
    table = Table('installation', '', box=box.SIMPLE_HEAD)
    table.add_row('Python', f'{platform.python_version()} ({sys.prefix})')
    for name in _PACKAGES:
        version = _version(name)
        missing = '- (an extra)' if name in _OPTIONAL else '[red]missing'
        table.add_row(name, version or missing)
    for name, check in _CHECKS:
        try:
            table.add_row(name, check())
        except Exception as e:  # whatever a broken package raises is the finding
            faults.append(f'{name}: {type(e).__name__}: {e}')
            table.add_row(name, '[red]broken')
    console.print(table)
    return faults


def _show_files(console: Console) -> int:
    """Prints the table of data and weights; returns how many of its rows are incomplete."""
    from oadp.data.required_files import layout, state_of

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column('data and weights', overflow='fold')
    for header in ('state', 'comes from', 'needed by'):
        table.add_column(header)
    incomplete = 0
    for entry in layout():
        is_there, state = state_of(entry.paths)
        incomplete += not is_there
        colour = 'green' if is_there else 'yellow'
        source = '' if is_there else entry.source
        table.add_row(entry.pattern, f'[{colour}]{state}', source, entry.used_by)
    console.print(table)
    return incomplete


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if the installation is broken."""
    ArgumentParser(
        prog='python -m oadp.doctor',
        description='Show versions, device, and which of the data and weights of the README are '
        'in the current directory; needs nothing, writes nothing. Exits with 1 where the '
        'installation is broken.',
    ).parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _MIN_WIDTH)
    faults = _show_installation(console)
    try:
        missing = _show_files(console)
    except ImportError as e:
        faults.append(str(e))
    else:
        console.print(
            f'{missing} rows are missing or incomplete; no command needs all of them.'
            if missing
            else 'All data and weights are there.'
        )
    if faults:
        console.print('[red]The installation is broken (make install mends it):')
        for fault in faults:
            console.print(f'- {fault}', markup=False)
    return 1 if faults else 0


if __name__ == '__main__':
    run('oadp.doctor', main)
