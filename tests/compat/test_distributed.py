"""mmcv's wrapper on the CPU: batches unpacked, gradients averaged over the processes."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest
import todd
import torch
import torch.distributed as dist

from oadp import compat


@pytest.mark.parametrize(
    'config, expected',
    [
        ({'type': 'SyncBN', 'requires_grad': True}, {'type': 'BN', 'requires_grad': True}),
        (
            {'neck': [{'norm_cfg': {'type': 'SyncBN'}}, ({'type': 'GN'},)], 'SyncBN': 'SyncBN'},
            {'neck': [{'norm_cfg': {'type': 'BN'}}, ({'type': 'GN'},)], 'SyncBN': 'SyncBN'},
        ),
        (3, 3),
    ],
    ids=['a norm layer', 'nested', 'no container'],
)
def test_sync_bn_to_bn(config: object, expected: object) -> None:
    before = repr(config)
    assert compat.sync_bn_to_bn(config) == expected
    assert repr(config) == before, "the caller's config changed"


def test_sync_bn_to_bn_keeps_the_config_class() -> None:
    config = todd.Config(model=dict(norm_cfg=dict(type='SyncBN')))
    copied = compat.sync_bn_to_bn(config)
    assert isinstance(copied, todd.Config)
    assert copied.model.norm_cfg.type == 'BN'
    assert config.model.norm_cfg.type == 'SyncBN'


def test_both_norms_have_the_same_keys() -> None:
    compat.install()
    from mmcv.cnn import build_norm_layer

    (name, layer), (synced_name, synced) = (
        build_norm_layer(dict(type=t), 4) for t in ('BN', 'SyncBN')
    )
    assert name == synced_name
    assert layer.state_dict().keys() == synced.state_dict().keys()


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, img, img_metas, scale=1.0):
        assert isinstance(img_metas[0], dict), 'the batch was not unpacked'
        return (img * self.weight).sum() * scale

    def train_step(self, data, optimizer):
        return dict(loss=self(**data), num_samples=len(data['img']))

    val_step = train_step


@pytest.fixture
def process_group(tmp_path: pathlib.Path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def batch() -> dict:
    compat.install()
    from mmcv.parallel import DataContainer

    return dict(
        img=DataContainer([torch.tensor([[1.0, 2.0], [3.0, 4.0]])], stack=True),
        img_metas=DataContainer([[dict(filename='a'), dict(filename='b')]], cpu_only=True),
    )


def test_all_methods_unpack_the_batch(process_group: None) -> None:
    model = compat.wrap_distributed(Model(), torch.device('cpu'))

    assert model(**batch()).item() == 10
    assert model(**batch(), scale=2.0).item() == 20
    with torch.no_grad():
        assert model.val_step(batch(), None)['loss'].item() == 10
    outputs = model.train_step(batch(), None)
    assert outputs['num_samples'] == 2
    outputs['loss'].backward()
    assert model.module.weight.grad.tolist() == [4, 6]


@pytest.mark.slow
@pytest.mark.long  # dp/test_train.py makes the same step with a detector
def test_two_processes_average_their_gradients(tmp_path: pathlib.Path) -> None:
    script = tmp_path / 'train.py'
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, torch
            sys.path.insert(0, sys.argv[1])
            from oadp import compat
            from oadp.utils import runtime
            from test_distributed import Model, batch

            with runtime.launch() as world:
                model = compat.wrap_distributed(Model(), world.device)
                data = batch()
                data['img'].data[0].mul_(world.rank + 1)
                model.train_step(data, None)['loss'].backward()
                line = f'{world.rank} {model.module.weight.grad.tolist()}\\n'
                os.write(1, line.encode())  # at once, as both write to the same place
            """
        )
    )
    command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    result = subprocess.run(
        [sys.executable, *command, str(script), str(pathlib.Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': str(pathlib.Path(__file__).parents[2]),
        },
    )
    assert result.returncode == 0, result.stderr
    # (1 + 2) / 2 times the gradient of one process, [4, 6].
    assert sorted(result.stdout.splitlines()) == ['0 [6.0, 9.0]', '1 [6.0, 9.0]']


@pytest.mark.gpu
def test_batches_reach_the_gpu(process_group: None) -> None:
    model = compat.wrap_distributed(Model(), torch.device('cuda', 0))
    assert model(**batch()).device.type == 'cuda'
