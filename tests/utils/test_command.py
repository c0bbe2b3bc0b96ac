"""What a command prints and returns when it fails, in a process of its own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(body: str, *arguments: str, module: str = '__main__', **environment: str):
    """Run a command whose ``main`` has this body; ``module`` is where Python believes it to be."""
    lines = '\n'.join(f'    {line}' for line in body.splitlines())
    code = f"""
import json, os, sys
from oadp.utils.command import ArgumentParser, run
def main():
    ArgumentParser(prog='cmd').parse_args()
{lines}
run('cmd', main)
"""
    if module != '__main__':
        code = f"exec(compile({code!r}, 'm.py', 'exec'), dict(__name__={module!r}))"
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
    )


@pytest.mark.parametrize(
    'body, message',
    [
        ("raise ValueError('a.json: no categories')", 'a.json: no categories'),
        ("raise TypeError('a name that is none')", 'a name that is none'),
        ("raise KeyError('no such key')", 'no such key'),
        ("open('gone.json')", 'gone.json: No such file or directory'),
        ("os.rename('a', 'b')", 'a → b: No such file or directory'),
        ("raise OSError(28, 'No space left on device', 'w.pth')", 'w.pth: No space left on device'),
        ("json.loads('{')", 'not JSON: Expecting property name'),
        (
            "class E(RuntimeError): pass\nraise E('CUDA out of memory. Tried to allocate 2 GiB')",
            'out of memory: CUDA out of memory',
        ),
    ],
)
def test_an_error_of_the_user_is_a_line(body: str, message: str) -> None:
    done = run(body)
    assert done.returncode == 1
    assert done.stderr.startswith(f'cmd: error: {message}')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('environment', [{}, {'OADP_TRACEBACK': '1'}])
def test_a_traceback_on_request(environment: dict) -> None:
    done = run("raise ValueError('x')", *([] if environment else ['--traceback']), **environment)
    assert done.returncode == 1
    assert 'Traceback (most recent call last)' in done.stderr
    assert done.stderr.endswith('ValueError: x\ncmd: error: x\n')
    assert 'bug' not in done.stderr


@pytest.mark.parametrize(
    'body, module',
    [
        pytest.param('None.shape', '__main__', id='an operation'),
        pytest.param("int('x')", '__main__', id='not a raise statement of ours'),
        pytest.param("assert not 'so'", '__main__', id='an assertion'),
        pytest.param("raise ValueError('shapes differ')", 'my_losses', id="a user's module"),
    ],
)
def test_a_bug_keeps_its_traceback(body: str, module: str) -> None:
    done = run(body, module=module)
    assert done.returncode == 1
    assert 'Traceback (most recent call last)' in done.stderr
    assert 'this is a bug' in done.stderr and 'report it' in done.stderr


@pytest.mark.parametrize(
    'body, status',
    [('raise KeyboardInterrupt', 130), ('return 1', 1), ('return None', 0), ('sys.exit(7)', 7)],
)
def test_exit_statuses(body: str, status: int) -> None:
    done = run(body)
    assert done.returncode == status
    assert done.stderr == ('cmd: interrupted\n' if status == 130 else '')


def test_usage() -> None:
    done = run('pass', '--what')
    assert done.returncode == 2
    assert 'cmd: error: unrecognized arguments: --what' in done.stderr


@pytest.mark.slow  # torchrun imports torch
def test_under_torchrun_the_line_is_printed() -> None:
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=1']
    done = subprocess.run(
        [*command, '-m', 'oadp.prompts.detpro', '--source', 'gone.pth'],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 1
    assert 'oadp.prompts.detpro: error: gone.pth: no such file; download' in done.stderr
    assert 'FileNotFoundError' not in done.stderr
