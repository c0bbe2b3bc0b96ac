"""Files from elsewhere: read with what training frameworks put in, refused with code in."""

import collections
import datetime
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch

from oadp import compat


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def mmcv_checkpoint() -> dict:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    meta = dict(
        mmcv_version='1.7.0',
        time='Mon Jan  2 03:04:05 2023',
        date=datetime.datetime(2023, 1, 2, tzinfo=datetime.timezone.utc),
        CLASSES=('person', 'cat'),
        PALETTE=[(1, 2, 3)],
        epoch=3,
        iter=np.int64(300),
        hook_msgs=dict(best_score=np.float64(0.313), flags=np.array([True, False])),
        ids={1, 2},
        config='model = dict()\n',
    )
    return dict(
        meta=meta,
        state_dict=collections.OrderedDict(model.state_dict()),
        optimizer=optimizer.state_dict(),
    )


def test_a_checkpoint_with_metadata_loads(tmp_path: pathlib.Path) -> None:
    checkpoint = mmcv_checkpoint()
    torch.save(checkpoint, tmp_path / 'a.pth')

    loaded = compat.load_tensors(tmp_path / 'a.pth')

    meta, expected = loaded['meta'], checkpoint['meta']
    np.testing.assert_array_equal(
        meta['hook_msgs'].pop('flags'), expected['hook_msgs'].pop('flags')
    )
    assert meta == expected
    assert meta['hook_msgs']['best_score'] == 0.313
    torch.testing.assert_close(loaded['state_dict'], checkpoint['state_dict'])
    torch.testing.assert_close(
        loaded['optimizer']['state'][0]['momentum_buffer'],
        checkpoint['optimizer']['state'][0]['momentum_buffer'],
    )


def test_mmcv_loads_it_too(tmp_path: pathlib.Path) -> None:
    compat.install()
    from mmcv.runner import load_checkpoint

    checkpoint = mmcv_checkpoint()
    torch.save(checkpoint, tmp_path / 'a.pth')
    model = torch.nn.Linear(3, 2)

    loaded = load_checkpoint(model, str(tmp_path / 'a.pth'), map_location='cpu', strict=True)

    assert loaded['meta']['iter'] == 300
    torch.testing.assert_close(model.state_dict(), dict(checkpoint['state_dict']))


def test_an_mmcv_runner_resumes(tmp_path: pathlib.Path) -> None:
    compat.install()
    import logging

    from mmcv.runner import EpochBasedRunner

    class Model(torch.nn.Linear):
        def train_step(self, data, optimizer):
            return dict(loss=self(data).sum(), num_samples=1)

    torch.save(mmcv_checkpoint(), tmp_path / 'a.pth')
    model = Model(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    runner = EpochBasedRunner(
        model,
        optimizer=optimizer,
        work_dir=str(tmp_path),
        logger=logging.getLogger('test'),
        max_epochs=5,
    )
    runner.resume(str(tmp_path / 'a.pth'))
    assert (runner.epoch, runner.iter) == (3, 300)
    assert optimizer.state[model.weight]['momentum_buffer'].eq(1).all()


def test_what_mmcv_saves_itself(tmp_path: pathlib.Path) -> None:
    """A checkpoint by mmcv's own function, with all that mmcv 1.x and mmdet 2.x put in ``meta``."""
    compat.install()
    from mmcv import ConfigDict
    from mmcv.runner import save_checkpoint

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    pipeline = [ConfigDict(type='Collect', keys=['img'], items=3, meta_keys=())]
    plain = dict(
        epoch=12,
        iter=32000,
        seed=3407,
        exp_name='oadp_ov_coco.py',
        env_info='sys.platform: linux\nPyTorch: 1.12.1',
        config="model = dict(type='OADP')\n",
        mmdet_version='2.25.2+0123456',
        CLASSES=('person', 'cat'),
        PALETTE=[(220, 20, 60), (119, 11, 32)],
        hook_msgs=dict(best_score=np.float64(0.313), best_ckpt='best.pth', tries=np.int64(4)),
        fp16=dict(loss_scaler=dict(scale=64.0, growth_factor=2.0)),
        flags=np.array([True, False]),
        small=np.float32(0.5),
        yes=np.bool_(True),
    )
    nested = dict(data=dict(train=dict(pipeline=pipeline)), where=(ConfigDict(a=1), 2))
    meta = ConfigDict(**plain, cfg=ConfigDict(nested), empty=ConfigDict())
    save_checkpoint(model, str(tmp_path / 'a.pth'), optimizer=optimizer, meta=meta)

    loaded = compat.load_tensors(tmp_path / 'a.pth')

    found = loaded['meta']
    assert type(found) is dict and {'time', 'mmcv_version'} <= set(found)
    np.testing.assert_array_equal(found.pop('flags'), plain.pop('flags'))
    assert {key: found[key] for key in plain} == plain
    collect = found['cfg']['data']['train']['pipeline'][0]
    assert dict(collect) == dict(type='Collect', keys=['img'], items=3, meta_keys=())
    assert list(collect.keys()) == ['type', 'keys', 'items', 'meta_keys']
    assert found['cfg']['where'] == ({'a': 1}, 2) and found['empty'] == {}
    torch.testing.assert_close(dict(loaded['state_dict']), dict(model.state_dict()))
    model.load_state_dict(loaded['state_dict'])
    optimizer.load_state_dict(loaded['optimizer'])


def test_a_config_that_holds_code_is_refused(tmp_path: pathlib.Path) -> None:
    compat.install()
    from mmcv import ConfigDict

    made = tmp_path / 'made'
    torch.save(dict(meta=ConfigDict(hook=Malicious(made))), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='refused'):
        compat.load_tensors(tmp_path / 'a.pth')
    assert not made.exists()


def test_a_config_of_todd(tmp_path: pathlib.Path) -> None:
    compat.install()
    import todd

    torch.save(dict(meta=todd.Config(a=1, b=[dict(keys=2)])), tmp_path / 'a.pth')
    meta = compat.load_tensors(tmp_path / 'a.pth')['meta']
    assert meta == dict(a=1, b=[dict(keys=2)])


@pytest.mark.parametrize('key', ['state_dict', 'meta'])
def test_code_is_refused_and_not_run(tmp_path: pathlib.Path, key: str) -> None:
    made = tmp_path / 'made'
    torch.save({'state_dict': {}, key: Malicious(made)}, tmp_path / 'a.pth')

    with pytest.raises(ValueError, match='refused.*If you trust') as e:
        compat.load_tensors(tmp_path / 'a.pth')
    assert 'a.pth' in str(e.value) and 'mkdir' in str(e.value)
    assert not made.exists()


@pytest.mark.parametrize(
    'content',
    [b'', b'not a torch file', pickle.dumps([1, 2])[:-3]],
    ids=['empty', 'text', 'cut pickle'],
)
def test_a_broken_torch_file(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.pth: not a readable torch file'):
        compat.load_tensors(tmp_path / 'a.pth')


def test_a_truncated_torch_file(tmp_path: pathlib.Path) -> None:
    torch.save(torch.randn(1000), tmp_path / 'a.pth')
    content = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'a.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'a\.pth: not a readable torch file'):
        compat.load_tensors(tmp_path / 'a.pth')


def test_missing_files(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'a\.pth'):
        compat.load_tensors(tmp_path / 'a.pth')
    with pytest.raises(FileNotFoundError, match=r'a\.pkl'):
        compat.load_pickled_arrays(tmp_path / 'a.pkl')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays(tmp_path: pathlib.Path, protocol: int) -> None:
    arrays = [np.random.default_rng(i).random((i, 5), np.float32) for i in range(3)]
    value = dict(boxes=arrays, order=np.arange(3)[::-1], best=np.float32(0.5), names=['a', 'é'])
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(value, protocol))

    loaded = compat.load_pickled_arrays(tmp_path / 'a.pkl')

    for array, expected in zip(loaded['boxes'], arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert loaded['order'].tolist() == [2, 1, 0]
    assert loaded['best'] == np.float32(0.5)
    assert loaded['names'] == ['a', 'é']


def test_arrays_pickled_by_either_numpy(tmp_path: pathlib.Path) -> None:
    content = pickle.dumps([np.arange(4, dtype=np.float32)], 0)
    for module in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
        text = content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
        (tmp_path / 'a.pkl').write_bytes(text.replace(b'numpy.core.multiarray', module))
        (loaded,) = compat.load_pickled_arrays(tmp_path / 'a.pkl')
        assert loaded.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    'value',
    [torch.zeros(1), np.array([pathlib.PurePosixPath('a')], dtype=object), print],
    ids=['tensor', 'array of objects', 'function'],
)
def test_other_pickles_are_refused(tmp_path: pathlib.Path, value: object) -> None:
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps([value]))
    with pytest.raises(ValueError, match=r'a\.pkl: expected a pickle of NumPy arrays'):
        compat.load_pickled_arrays(tmp_path / 'a.pkl')


def test_a_malicious_pickle_is_not_run(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps([Malicious(tmp_path / 'made')]))
    with pytest.raises(ValueError, match='mkdir'):
        compat.load_pickled_arrays(tmp_path / 'a.pkl')
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('content', [b'', b'text', pickle.dumps(np.zeros(9))[:-9]])
def test_a_broken_pickle(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / 'a.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.pkl'):
        compat.load_pickled_arrays(tmp_path / 'a.pkl')
