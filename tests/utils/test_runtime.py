"""What the environment says, and what a process makes of it."""

import contextlib
import io
import logging
import os
import pathlib
import subprocess
import sys

import pytest
import torch

from oadp.utils import runtime

FLAGS = {'DRY_RUN': runtime.dry_run, 'TRAIN_WITH_VAL_DATASET': runtime.train_with_val_dataset}


@pytest.mark.parametrize('name', FLAGS)
@pytest.mark.parametrize(
    'value, expected',
    [
        (None, False),
        ('', False),
        ('True', True),
        ('true', True),
        ('TRUE', True),
        ('1', True),
        ('False', False),
        ('false', False),
        ('0', False),
    ],
)
def test_flags(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, expected: bool
) -> None:
    if value is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, value)
    assert FLAGS[name]() is expected


@pytest.mark.parametrize('name', FLAGS)
def test_another_value_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, 'yes')
    with pytest.raises(ValueError, match=f"{name}='yes': expected True, False, 1 or 0"):
        FLAGS[name]()


def test_dump_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('DUMP', raising=False)
    assert runtime.dump_dir() is None
    monkeypatch.setenv('DUMP', 'work_dirs/dump')
    assert runtime.dump_dir() == pathlib.Path('work_dirs/dump')


def test_one_process_has_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    with runtime.launch() as world:
        assert (world.rank, world.local_rank, world.size) == (0, 0, 1)
        assert world.is_main and not world.is_distributed
        assert world.device.type == ('cuda' if torch.cuda.is_available() else 'cpu')
        runtime.barrier()


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(RuntimeError, match='there are 2; lower --nproc_per_node'):
        with runtime.launch():
            pass


@pytest.mark.parametrize(
    ('has_gpu', 'fails', 'expected'),
    [
        (True, False, ['join nccl', 'leave']),
        (True, True, ['join nccl']),
        (False, False, ['join gloo', 'leave']),
        (False, True, ['join gloo', 'leave']),
    ],
)
def test_when_the_group_is_destroyed(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, fails: bool, expected: list[str]
) -> None:
    """A process that failed must not wait in NCCL for the others, which wait for it."""
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    dist = torch.distributed
    monkeypatch.setattr(dist, 'init_process_group', lambda name, **_: calls.append(f'join {name}'))
    monkeypatch.setattr(dist, 'destroy_process_group', lambda: calls.append('leave'))
    monkeypatch.setattr(dist, 'get_rank', lambda: 0)
    monkeypatch.setattr(dist, 'get_world_size', lambda: 2)
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(KeyError) if fails else contextlib.nullcontext():
        with runtime.launch():
            if fails:
                raise KeyError
    assert calls == expected


@pytest.mark.parametrize(('backend', 'expected'), [('nccl', [3]), ('gloo', None)])
def test_nccl_barrier_uses_the_gpu_of_the_process(
    monkeypatch: pytest.MonkeyPatch, backend: str, expected: list[int] | None
) -> None:
    calls: list[list[int] | None] = []
    dist = torch.distributed
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(dist, 'get_backend', lambda: backend)
    monkeypatch.setattr(dist, 'barrier', lambda device_ids: calls.append(device_ids))
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 3)
    runtime.barrier()
    assert calls == [expected]


SCRIPT = """
import os
import torch.distributed as dist
from oadp.utils import runtime
with runtime.launch() as world:
    assert world.is_distributed and world.is_main == (world.rank == 0)
    runtime.barrier()
    line = f'{world.rank} {world.local_rank} {world.size} {world.device.type}\\n'
    os.write(1, line.encode())  # at once, as both processes write to the same place
assert not dist.is_initialized()
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without GPUs')
def test_torchrun_on_the_cpu(tmp_path: pathlib.Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', str(script)]
    root = str(pathlib.Path(runtime.__file__).parents[2])
    result = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': root},
    )
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ['0 0 2 cpu', '1 1 2 cpu']


@pytest.fixture
def name(request: pytest.FixtureRequest):
    yield f'oadp.{request.node.name}'
    for handler in logging.getLogger(f'oadp.{request.node.name}').handlers:
        handler.close()


def test_a_log_file(
    name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.delenv('RANK', raising=False)
    path = tmp_path / 'folder' / 'run.log'
    logger = runtime.get_logger(name, path)
    logger.info('3 images')
    assert path.read_text().endswith('INFO 3 images\n')
    assert 'INFO 3 images' in capsys.readouterr().err
    assert len(runtime.get_logger(name).handlers) == 2, 'asking again adds no handler'


def test_other_processes_report_only_warnings(name: str, monkeypatch) -> None:
    monkeypatch.setenv('RANK', '1')
    stream = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', stream)
    logger = runtime.get_logger(name)
    logger.info('progress')
    logger.warning('trouble')
    assert 'trouble' in stream.getvalue() and 'progress' not in stream.getvalue()


def test_importing_changes_nothing() -> None:
    code = (
        'import os, logging, torch; before = dict(os.environ), list(logging.root.handlers);'
        'import oadp.utils.runtime;'
        'assert before == (dict(os.environ), list(logging.root.handlers));'
        'assert not torch.distributed.is_initialized()'
    )
    root = str(pathlib.Path(runtime.__file__).parents[2])
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'PYTHONPATH': root})


@pytest.mark.parametrize(
    ('value', 'folder', 'file'),
    [
        ('', 'work_dirs/prompts/ml', 'data/prompts/vild.pth'),
        ('True', 'work_dirs/dry_run/prompts/ml', 'work_dirs/dry_run/prompts/vild.pth'),
    ],
)
def test_outputs_of_a_dry_run_have_their_own_folder(monkeypatch, value, folder, file):
    monkeypatch.setenv('DRY_RUN', value)
    assert runtime.work_dir('prompts', 'ml').as_posix() == folder
    assert runtime.output_path('data/prompts/vild.pth', 'prompts').as_posix() == file
