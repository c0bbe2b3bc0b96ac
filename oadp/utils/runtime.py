"""How a process runs: device, rank, dry run, logging.

This is the only module that reads the environment. Importing it has no effect, and torch is imported
by the functions that need it, as the arguments of a command are parsed before.
"""

from __future__ import annotations

__all__ = [
    'DRY_RUN_DIR',
    'GROUP_TIMEOUT',
    'WORK_DIR',
    'ProcessInfo',
    'barrier',
    'dry_run',
    'dump_dir',
    'get_logger',
    'launch',
    'nni_trial',
    'output_path',
    'train_with_val_dataset',
    'work_dir',
]

import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GROUP_TIMEOUT = datetime.timedelta(hours=2)
"""How long a process waits for the others: the first one computes LVIS's metrics for many minutes."""

WORK_DIR = pathlib.Path('work_dirs')
"""Folder of all runs, relative to the current directory."""

DRY_RUN_DIR = WORK_DIR / 'dry_run'
"""Folder of the outputs of a dry run, which are not results."""

_BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}


def _flag(name: str) -> bool:
    value = os.environ.get(name, '')
    if not value:
        return False
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValueError(
            f'environment variable {name}={value!r}: expected True, False, 1 or 0 (any case)'
        ) from None


def dry_run() -> bool:
    """Return ``DRY_RUN``: run every stage on a few images, with its own output folder."""
    return _flag('DRY_RUN')


def work_dir(*names: str) -> pathlib.Path:
    """Return the folder ``work_dirs/NAMES`` of a run, or ``work_dirs/dry_run/NAMES`` in ``DRY_RUN``.

    It is relative to the current directory, and is not created.
    """
    return pathlib.Path(DRY_RUN_DIR if dry_run() else WORK_DIR, *names)


def output_path(path: str | os.PathLike, stage: str) -> pathlib.Path:
    """Return ``path``, or in ``DRY_RUN`` the file ``work_dirs/dry_run/STAGE/NAME`` in its place.

    Args:
        path: where the result of a full run goes.
        stage: name of the folder, such as ``prompts``.
    """
    path = pathlib.Path(path)
    return DRY_RUN_DIR / stage / path.name if dry_run() else path


def train_with_val_dataset() -> bool:
    """Return ``TRAIN_WITH_VAL_DATASET``: train on the validation images and annotations."""
    return _flag('TRAIN_WITH_VAL_DATASET')


def dump_dir() -> pathlib.Path | None:
    """Return ``DUMP``, the folder for the records of the score fusion search; None if it is not set."""
    value = os.environ.get('DUMP', '')
    return pathlib.Path(value) if value else None


@dataclasses.dataclass(frozen=True)
class ProcessInfo:
    """The process in its run: its rank and its device.

    Attributes:
        rank: rank over all nodes, 0 ≤ rank < size.
        local_rank: rank on this node.
        size: number of processes.
        device: ``cuda:local_rank`` if there is a GPU, else ``cpu``.
    """

    rank: int
    local_rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the first process, which logs and writes files."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether the process group is initialized (under torchrun, even with one process)."""
        import torch.distributed as dist

        return dist.is_available() and dist.is_initialized()


@contextlib.contextmanager
def launch() -> Iterator[ProcessInfo]:
    """Join the process group that torchrun describes, if any, and leave it at the end.

    Plain ``python`` runs one process without a group. Under ``torchrun``, the backend is NCCL with one
    GPU per process, or gloo if there is no GPU. After an error, an NCCL group is not destroyed; it ends
    with the process.

    Raises:
        RuntimeError: there are more processes on this node than GPUs.
    """
    import torch
    import torch.distributed as dist

    local_rank = int(os.environ.get('LOCAL_RANK', 0))
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise RuntimeError(
                f'process {local_rank} of this node has no GPU: there are '
                f'{torch.cuda.device_count()}; lower --nproc_per_node'
            )
        device = torch.device('cuda', local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device('cpu')
    if 'RANK' not in os.environ:
        yield ProcessInfo(rank=0, local_rank=0, size=1, device=device)
        return
    dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo', timeout=GROUP_TIMEOUT)
    is_done = False
    try:
        yield ProcessInfo(
            rank=dist.get_rank(), local_rank=local_rank, size=dist.get_world_size(), device=device
        )
        is_done = True
    finally:
        # Destroying an NCCL group waits for its pending operations: a process that failed would wait
        # for the others, which wait for it, and torchrun would not notice the failure.
        if is_done or device.type == 'cpu':
            dist.destroy_process_group()


def barrier() -> None:
    """Wait for the other processes; do nothing without a process group."""
    import torch
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        # NCCL's barrier needs a GPU. Without device_ids torch warns, and older versions choose the GPU
        # by the rank over all nodes.
        is_nccl = dist.get_backend() == 'nccl'
        dist.barrier(device_ids=[torch.cuda.current_device()] if is_nccl else None)


def get_logger(name: str = 'oadp', file: os.PathLike | None = None) -> logging.Logger:
    """Return a logger that writes lines with the time to stderr and, if given, to a file.

    Processes other than the first one log only warnings and errors.
    """
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO if int(os.environ.get('RANK', 0)) == 0 else logging.WARNING)
    formatter = logging.Formatter('%(asctime)s %(levelname)s %(message)s', '%H:%M:%S')
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.stderr))
    if file is not None:
        # In one process (a notebook, tests) a second run must not write to the first one's file.
        for old in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(old)
            old.close()
        pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
        logger.addHandler(logging.FileHandler(file, encoding='utf-8'))
    for handler in logger.handlers:
        handler.setFormatter(formatter)
    return logger


def nni_trial() -> str | None:
    """Return the id of this process's NNI trial; None if it is not a trial."""
    is_trial = os.environ.get('NNI_PLATFORM', 'unittest') != 'unittest'
    return os.environ.get('NNI_TRIAL_JOB_ID') if is_trial else None
