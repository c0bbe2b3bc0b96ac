"""Checks of the packages that a detector needs: the device, the ops and CLIP.

Each check imports its packages itself, so that the report includes packages that fail to import.
"""

__all__ = ['CHECKS']

from collections.abc import Callable


def _ops() -> str:
    from oadp import compat

    whose = compat.ops_in_use()
    note = (
        ''
        if whose == 'mmcv-full'
        else ' (mmcv-full has no compiled ops; make install OPS=1 compiles them)'
    )
    return f'NMS and RoIAlign of {whose}{note}'


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        built = (
            f'torch was built for CUDA {torch.version.cuda}' if torch.version.cuda else 'CPU build'
        )
        return f'CPU, {torch.get_num_threads()} threads; no GPU is visible ({built})'
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = ', '.join(f'{d.name} ({d.total_memory / 2**30:.0f} GiB)' for d in devices)
    return f'{names}; CUDA {torch.version.cuda}'


def _clip() -> str:
    from oadp.clip.weights import import_clip

    import_clip()
    return 'imports'


CHECKS: dict[str, Callable[[], str]] = {'device': _device, 'ops': _ops, 'clip': _clip}
"""Name to a function that returns a description, or raises if that part is broken."""
