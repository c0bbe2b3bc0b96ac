"""Which errors are the user's, where mmcv's registry or a DataLoader stand between."""

import json
import pathlib
import re

import pytest
import torch
from mmcv.utils import Registry
from torch.utils.data import DataLoader

from oadp.utils.config import load_config
from oadp.utils.errors import describe_error, find_cause, is_user_error

REGISTRY = Registry('things')


@REGISTRY.register_module()
class Thing:
    def __init__(self, path: pathlib.Path) -> None:
        json.loads(path.read_text())


@REGISTRY.register_module()
class Buggy:
    def __init__(self) -> None:
        raise ValueError('operands could not be broadcast')


def caught(function, *args) -> BaseException:
    try:
        function(*args)
    except Exception as e:
        return find_cause(e)
    raise AssertionError('no error')


def test_the_registry_does_not_hide_the_cause(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'cut.json').write_text('{"images": [')
    error = caught(REGISTRY.build, dict(type='Thing', path=tmp_path / 'cut.json'))
    assert isinstance(error, json.JSONDecodeError)
    assert is_user_error(error)
    assert describe_error(error).startswith('not JSON: Expecting value')

    error = caught(REGISTRY.build, dict(type='Thing', path=tmp_path / 'gone.json'))
    assert describe_error(error) == f'{tmp_path}/gone.json: No such file or directory'


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(type='Thin'), 'Thin is not in the things registry'),
        (dict(type='Thing', pth='x'), 'the config does not fit: .*unexpected keyword'),
    ],
)
def test_an_error_of_the_config(config: dict, message: str) -> None:
    error = caught(REGISTRY.build, config)
    assert is_user_error(error)
    assert re.match(message, describe_error(error))


def test_a_constructor_of_torch_refuses_a_number() -> None:
    registry = Registry('optimizers')
    registry.register_module(module=torch.optim.SGD)
    error = caught(registry.build, dict(type='SGD', params=[torch.zeros(1)], lr=-1.0))
    assert describe_error(error) == 'Invalid learning rate: -1.0'
    assert is_user_error(error)


@REGISTRY.register_module()
class Misusing:
    def __init__(self) -> None:
        torch.optim.SGD([torch.zeros(1)], lr=-1.0)


@pytest.mark.parametrize('name', ['Buggy', 'Misusing'])
def test_a_bug_in_a_module_of_the_users(name: str) -> None:
    assert not is_user_error(caught(REGISTRY.build, dict(type=name)))


class Broken(torch.utils.data.Dataset):
    def __init__(self, folder: pathlib.Path, is_bug: bool) -> None:
        self.folder = folder
        self.is_bug = is_bug

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int) -> None:
        if self.is_bug:
            None.shape  # noqa: B018
        load_config(self.folder / 'gone.py')


@pytest.mark.parametrize('is_bug', [False, True])
def test_an_error_in_a_process_of_a_data_loader(tmp_path: pathlib.Path, is_bug: bool) -> None:
    error = caught(next, iter(DataLoader(Broken(tmp_path, is_bug), num_workers=1)))
    assert is_user_error(error) is not is_bug
    if not is_bug:
        assert describe_error(error).startswith(f'{tmp_path}/gone.py: no such config')


def test_a_worker_that_was_killed() -> None:
    text = 'DataLoader worker (pid 12) is killed by signal: Bus error. It is possible …'
    assert is_user_error(RuntimeError(text))
    assert not is_user_error(RuntimeError('shape mismatch'))


@pytest.mark.parametrize(
    'content, message',
    [
        (b'a = 1\nb = dict(lr=0.1 c=2)', r'c\.py, line 2: SyntaxError: '),
        (b'a = 1\n\nb = 1 / 0', r'c\.py, line 3: ZeroDivisionError: division by zero'),
        (b'a = b', r"c\.py, line 1: NameError: name 'b'"),
        (b"a = '\xb9'", r'c\.py: expected a config in UTF-8'),
    ],
)
def test_a_config_that_fails(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    (tmp_path / 'c.py').write_bytes(content)
    with pytest.raises(ValueError, match=message) as e:
        load_config(tmp_path / 'c.py')
    assert is_user_error(find_cause(e.value))
