"""Extraction on a simulated GPU (tests/pretend_gpu.py), and on a real one."""

import pathlib
import re

import pytest
import torch
from oake_dataset import CONFIGS
from pretend_gpu import GPU, pretend_gpu

from oadp.data.features import stores as features
from oadp.oake import run as command
from oadp.oake.blocks import Blocks
from oadp.oake.globals import Globals
from oadp.oake.objects import Objects
from oadp.utils import runtime
from oadp.utils.config import load_config

TASKS = dict(globals=Globals, blocks=Blocks, objects=Objects)


def run_on_gpu(kind: str, folder: pathlib.Path) -> None:
    changes = {
        '.train': None,
        '.mini_batch_size': 5,
        '.val.dataloader.dataset.output_dir': str(folder),
    }
    world = runtime.ProcessInfo(rank=0, local_rank=0, size=1, device=GPU)
    (report,) = command.run(TASKS[kind], f'oake/{kind}', load_config(CONFIGS[kind], changes), world)
    assert (report.done, report.failed) == (6, [])


def assert_same_features(kind: str, folder: pathlib.Path, expected: pathlib.Path) -> None:
    found, expected = (features.open_store(f, kind) for f in (folder, expected))
    assert found.ids() == expected.ids()
    for i in expected.ids():
        a, b = (r if isinstance(r, dict) else {'': r} for r in (found.read(i), expected.read(i)))
        for key in b:
            torch.testing.assert_close(a[key], b[key], atol=5e-3, rtol=0)
            assert 'embeddings' in key or not key or torch.equal(a[key], b[key])


@pytest.mark.parametrize('kind', sorted(CONFIGS))
def test_same_features_without_synchronization(extract, root, kind):
    extract(kind, {'.train': None})
    with pretend_gpu() as waits:
        run_on_gpu(kind, root / 'gpu')
    # Only the weights are copied synchronously, before the first image.
    assert waits and not [w for w in waits if not re.search(r'/oake/run\.py:\d+$', w)]
    expected = root / f'data/coco/oake/{kind}/val2017'
    assert_same_features(kind, root / 'gpu', expected)


@pytest.mark.gpu
@pytest.mark.parametrize('kind', sorted(CONFIGS))
def test_same_features_on_a_real_gpu(extract, root, kind):
    extract(kind, {'.train': None})
    run_on_gpu(kind, root / 'gpu')
    expected = root / f'data/coco/oake/{kind}/val2017'
    assert_same_features(kind, root / 'gpu', expected)


def test_the_simulated_gpu_rejects_mixed_devices():
    with pretend_gpu(), pytest.raises(RuntimeError, match='on the GPU and on the CPU'):
        torch.ones(2).to(GPU) + torch.ones(2)


def test_the_simulated_gpu_detects_synchronization():
    with pretend_gpu() as waits:
        x = torch.ones(2).to(GPU, non_blocking=True)
        assert (x.device, x.is_cuda, waits) == (GPU, True, [])
        assert x.sum().item() == 2 and x.tolist() == [1, 1]
        assert x.cpu().device.type == 'cpu'
        assert len(waits) == 3
        x[torch.tensor([0])] = 0
        assert x[x > 0].shape == (1,) and len(waits) == 5
        x[torch.tensor([0]).to(GPU, non_blocking=True)] = 1
        assert len(waits) == 5
