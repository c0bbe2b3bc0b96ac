"""Extraction by several processes, and by processes that are killed."""

import os
import pathlib
import subprocess
import sys
import time

import pytest
from oake_dataset import CONFIGS, ROOT, read_all

from oadp.data.features import stores as features

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('root')]
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
FP32 = ['--override', '.precision::fp32']


def run(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=600
    )


def test_two_processes_write_the_same_files_as_one(extract, root):
    begin = time.monotonic()
    extract('objects')
    expected = read_all(root / 'data/coco/oake')
    assert len(expected) == 12
    (root / 'data/coco/oake').rename(root / 'one')
    arguments = ['oadp.oake.objects', 'oake/objects', CONFIGS['objects'], *FP32]
    result = run('-m', 'torch.distributed.run', '--nproc_per_node=2', '-m', *arguments)
    assert result.returncode == 0, result.stderr
    assert '6 images: 6 extracted, 0 skipped, 0 failed; 28 crops' in result.stderr
    written = features.open_store(root / 'data/coco/oake/objects/val2017', 'objects')
    reference = features.open_store(root / 'one/objects/val2017', 'objects')
    assert read_all(root / 'data/coco/oake').keys() == expected.keys()
    for i in reference.ids():  # batches are cut differently: the last bit may differ
        a, b = written.read(i), reference.read(i)
        assert all((a[k].float() - b[k].float()).abs().sum() < 1e-2 for k in b)
    assert time.monotonic() > begin

    # The exit status and the list of failures, with processes that go on.
    for image in sorted((root / 'data/coco/val2017').iterdir())[:2]:
        image.write_bytes(b'no image')
    packed = '.val.dataloader.dataset.output_dir::packed.lmdb'
    result = run('-m', 'torch.distributed.run', '--nproc_per_node=2', '-m', *arguments, packed)
    assert result.returncode != 0
    assert '4 extracted, 0 skipped, 2 failed' in result.stderr
    assert len(features.open_store('packed.lmdb', 'objects').ids()) == 4


@pytest.mark.parametrize('output', ['killed', 'killed.lmdb'])
def test_killed_processes_leave_no_broken_records(extract, root, output):
    begin = time.monotonic()
    (report,) = extract('blocks', {'.train': None, '.mini_batch_size': 4})
    span = time.monotonic() - begin
    expected = features.open_store('data/coco/oake/blocks/val2017', 'blocks')
    script = pathlib.Path(__file__).with_name('kill_and_resume.py')
    overrides = [
        '--override',
        '.precision::fp32',
        '.mini_batch_size:4',
        '.train:None',
        f'.val.dataloader.dataset.output_dir::{output}',
    ]
    result = run(
        script,
        4,
        0,
        'oadp.oake.blocks',
        'oake/blocks',
        CONFIGS['blocks'],
        *overrides,
        SPAN=str(span),
    )
    assert result.returncode == 0, result.stderr
    assert 'killed 0' not in result.stdout
    store = features.open_store(output, 'blocks')
    assert store.ids() == expected.ids() and len(store.ids()) == report.done == 6
    for i in store.ids():
        a, b = store.read(i), expected.read(i)
        assert all((a[k].float() - b[k].float()).abs().max() < 1e-3 for k in b)
    assert not list(pathlib.Path().rglob('*.oadp-tmp'))


def test_help_lists_inputs_and_outputs():
    result = run('-m', 'oadp.oake.objects', '--help')
    assert result.returncode == 0
    assert all(word in result.stdout for word in ('CLIP', 'proposals', 'output_dir', '--override'))
