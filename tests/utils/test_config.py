"""Configs: inheritance, overrides that must name something, and writing back."""

import argparse
import json
import pathlib
from keyword import iskeyword

import pytest
import todd
from hypothesis import given
from hypothesis import strategies as st

from oadp.utils import config as config_module
from oadp.utils.config import (
    add_config_arguments,
    dump_config,
    load_config,
    parse_override,
    to_plain,
)

BASE = """
trainer = dict(optimizer=dict(type='SGD', lr=0.01), hooks=[dict(type='A', interval=1), dict(n=2)])
validator = dict(ann_file='a.json')
"""
DERIVED = """
'What the file is for.'
_base_ = ['base.py']
trainer = dict(optimizer=dict(lr=0.02))
seed = 3
"""


@pytest.fixture
def config_path(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / 'base.py').write_text(BASE)
    (tmp_path / 'derived.py').write_text(DERIVED)
    return tmp_path / 'derived.py'


def test_inheritance(config_path: pathlib.Path) -> None:
    config = load_config(config_path)
    assert config.trainer.optimizer.type == 'SGD'
    assert config.trainer.optimizer.lr == 0.02
    assert config.seed == 3
    assert set(config) == {'trainer', 'validator', 'seed'}, 'a docstring is no setting'


def test_one_base_may_be_a_string(config_path: pathlib.Path) -> None:
    config_path.with_name('one.py').write_text("_base_ = 'derived.py'")
    assert load_config(config_path.with_name('one.py')) == load_config(config_path)


def test_delete_leaves_nothing_of_the_base(config_path: pathlib.Path) -> None:
    text = """
_base_ = ['derived.py']
trainer = dict(optimizer=dict(type='Adam', _delete_=True, betas=dict(_delete_=True, a=1)))
"""
    config_path.with_name('own.py').write_text(text)
    config_path.with_name('last.py').write_text("_base_ = ['own.py']")
    for name in ('own.py', 'last.py'):
        config = load_config(config_path.with_name(name))
        # In whatever place of the dict it is written.
        assert config.trainer.optimizer == dict(type='Adam', betas=dict(a=1))
        assert config.trainer.hooks and config.seed == 3
        assert type(config.trainer.optimizer.betas) is todd.Config


def test_a_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no\.py: no such config'):
        load_config(tmp_path / 'no.py')


@pytest.mark.parametrize(
    'key, value, get',
    [
        ('.seed', 4, lambda c: c.seed),
        ('.trainer.optimizer.lr', 1.0, lambda c: c.trainer.optimizer.lr),
        ('.trainer.hooks[1].n', 5, lambda c: c.trainer.hooks[1]['n']),
        ('.trainer["optimizer"].lr', 2.0, lambda c: c.trainer.optimizer.lr),
        ('.trainer.hooks[-1]', None, lambda c: c.trainer.hooks[-1]),
        # A component may be given an argument that the config does not spell out.
        ('.trainer.optimizer.momentum', 0.9, lambda c: c.trainer.optimizer.momentum),
    ],
)
def test_overrides(config_path: pathlib.Path, key: str, value: object, get) -> None:
    assert get(load_config(config_path, {key: value})) == value


@pytest.mark.parametrize(
    'key, message',
    [
        ('.sead', r"no \.sead in the config, which has \['seed', 'trainer', 'validator'\]"),
        ('.trainer.optimiser.lr', r'no \.optimiser in \.trainer'),
        ('.trainer.optimizer.lr.x', r'no \.x in \.trainer\.optimizer\.lr, which is 0\.02'),
        ('.trainer.hooks[2].n', r'no \[2\] in \.trainer\.hooks, which has 2 items'),
        ('.trainer.hooks[2]', r'no \[2\]'),
        ('.trainer.hooks.n', r'no \.n in \.trainer\.hooks'),
        ('seed', 'expected a key such as'),
        ('.', 'expected a key such as'),
        ('.a.b()', 'expected a key such as'),
        ('.seed[open("x")]', 'expected a key such as'),
    ],
)
def test_bad_overrides(config_path: pathlib.Path, key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(config_path, {key: 1})


@pytest.mark.parametrize('key', ['.scales[0]', '.scales[0][1]'])
def test_an_item_of_a_tuple(tmp_path: pathlib.Path, key: str) -> None:
    """mmdet's configs have them: a scale, a step of the workflow."""
    (tmp_path / 'x.py').write_text('scales = ((640, 480), (800, 600))')
    with pytest.raises(ValueError, match=r'a tuple, .*override the whole tuple'):
        load_config(tmp_path / 'x.py', {key: 1})
    assert load_config(tmp_path / 'x.py', {'.scales': ((1, 2),)}).scales == ((1, 2),)


def test_all_bad_overrides_are_listed(config_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"'\.a'.*; .*'\.b'"):
        load_config(config_path, {'.a': 1, '.b': 2})


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return parser.parse_args(['config.py', *argv])


def test_the_command_line() -> None:
    args = parse(
        '--override',
        '.a.b:1',
        '.c::data/x.json',
        '--override',
        '.d:[1, 2]',
        '.e:None',
        '.f:True',
        '.g:dict(type="A", b=[dict(c=1)])',
    )
    assert args.config == pathlib.Path('config.py')
    assert args.override == {
        '.a.b': 1,
        '.c': 'data/x.json',
        '.d': [1, 2],
        '.e': None,
        '.f': True,
        '.g': {'type': 'A', 'b': [{'c': 1}]},
    }
    assert parse().override == {}
    assert parse('--override', '.a:1').override == {'.a': 1}, 'nothing is left of another parser'


@pytest.mark.parametrize(
    'text',
    [
        '.a',
        '.a:data/x.json',
        '.a:1+',
        '.a:1/0',
        '.a:None.b',
        '.a:1+"b"',
        '.a:open("x")',
        '.a:dict(b=open("x"))',
        '.a:dict(1)',
        '.a:dict(**{})',
        '.a:2**9',
        '.a:',
    ],
)
def test_bad_command_lines(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse('--override', text)
    error = capsys.readouterr().err
    assert 'expected .key:LITERAL or .key::TEXT' in error or 'is not a Python literal' in error


def test_overrides_are_not_run(tmp_path: pathlib.Path) -> None:
    made = tmp_path / 'made'
    with pytest.raises(SystemExit):
        parse('--override', f'.a:__import__("pathlib").Path({str(made)!r}).touch()')
    assert not made.exists()


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=6,
)
NAMES = st.from_regex(r'[a-z][a-z0-9_]{0,5}', fullmatch=True).filter(lambda n: not iskeyword(n))


@given(st.lists(NAMES, min_size=1, max_size=4), LITERALS)
def test_any_literal_is_read_as_it_is_written(names: list[str], value: object) -> None:
    key = ''.join(f'.{name}' for name in names)
    assert parse_override(f'{key}:{value!r}') == (key, value)
    assert parse_override(f'{key}::{value}') == (key, str(value))


@given(st.text())
def test_any_override_is_read_or_refused(text: str) -> None:
    try:
        key, _ = parse_override(text)
    except ValueError as e:
        assert 'literal' in str(e).lower()
    else:
        assert text.startswith(key + ':')


@given(st.text(max_size=12), st.lists(NAMES, max_size=2))
def test_any_key_is_applied_or_refused(text: str, names: list[str]) -> None:
    config = {'a': {'b': [1, {'c': 2}]}, 'd': (1, 2)}
    key = ''.join(f'.{name}' for name in names) + text
    try:
        config_module._override(config, key, 9)
    except ValueError as e:
        assert repr(key) in str(e)


def test_to_plain(config_path: pathlib.Path) -> None:
    config = load_config(config_path)
    plain = to_plain(config)
    assert type(plain) is dict and type(plain['trainer']['hooks'][0]) is dict
    assert json.loads(json.dumps(plain))['trainer']['optimizer'] == {'type': 'SGD', 'lr': 0.02}
    plain['trainer']['optimizer']['lr'] = 9
    assert config.trainer.optimizer.lr == 0.02, 'a deep copy'
    assert to_plain((1, [2])) == (1, [2])


def test_a_written_config_runs_again(config_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = load_config(config_path, {'.validator.ann_file': 'b.json'})
    path = tmp_path / 'work_dirs' / 'x' / 'config.py'
    dump_config(config, path)
    assert to_plain(load_config(path)) == to_plain(config)
    assert [p.name for p in path.parent.iterdir()] == ['config.py']
