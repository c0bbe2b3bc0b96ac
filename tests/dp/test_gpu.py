"""Training on a GPU: half precision, NCCL, resuming."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from training_dataset import ROOT, make_training_dataset

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

PYTHON = ['-m']
TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1', '-m']  # NCCL
NOT_SAMPLED = ('loss_cls', 'loss_block', 'loss_global', 'loss_clip_objects', 'loss_clip_blocks')
"""The losses of the first step that do not depend on random numbers, which differ on a GPU."""


def train(
    launcher: list[str], root: pathlib.Path, name: str, *override: str, devices: str | None = None
) -> dict[int, dict[str, float]]:
    """Return the entries of the log by step."""
    command = [sys.executable, *launcher, 'oadp.dp.train', name, 'ov_coco.py']
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    if devices is not None:
        env['CUDA_VISIBLE_DEVICES'] = devices
    result = subprocess.run(
        command + (['--override', *override] if override else []),
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'FutureWarning' not in result.stderr
    (log,) = (root / 'work_dirs' / name).glob('*.log.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {row['iter']: row for row in rows if row.get('mode') == 'train'}


@pytest.mark.parametrize('launcher', [PYTHON, TORCHRUN], ids=['python', 'torchrun'])
def test_half_precision_and_resuming(tmp_path: pathlib.Path, launcher: list[str]) -> None:
    make_training_dataset(tmp_path)
    cpu = train(PYTHON, tmp_path, 'cpu', devices='')
    gpu = train(launcher, tmp_path, 'gpu')
    again = train(launcher, tmp_path, 'again', '.trainer.resume_from::work_dirs/gpu/iter_2.pth')
    assert sorted(gpu) == [1, 2, 3, 4] and 'memory' in gpu[1] and 'memory' not in cpu[1]
    for name in NOT_SAMPLED:
        assert gpu[1][name] == pytest.approx(cpu[1][name], rel=2e-2), name
    assert sorted(again) == [3, 4]
    for step in again:
        assert again[step]['loss'] == pytest.approx(gpu[step]['loss'], rel=1e-2)
