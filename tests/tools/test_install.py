"""The installer's order and refusals, with a Python whose pip only takes notes."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]

DF = """#!/bin/sh
echo head
echo / 9 9 ${FREE_KB:-99000000} 9 /
"""

PYTHON = """#!/usr/bin/env bash
case "$*" in
*"-m pip --disable"*)
    echo "${@:4}" >>"$NOTES"
    # As mmcv's setup.py: 0 names the package mmcv, which pip refuses; ops are compiled if torch can be imported.
    [[ $* != *mmcv-full* || ${MMCV_WITH_OPS:-1} == 1 ]] || exit 1
    [[ $* != *mmcv-full* || -e $PYTHONPATH/torch.py || -z ${COMPILER_FAILS:-} ]] || exit 1
    for arg in "$@"; do [[ $arg == *rest.txt ]] && sed "s/^/  /" "$arg" >>"$NOTES"; done
    exit 0 ;;
*"-m pip check"* | *oadp*) exit 0 ;;
*"import cv2"*) exit 0 ;;
*) exec REAL "$@" ;;
esac
"""


@pytest.fixture
def install(tmp_path: pathlib.Path):
    """Runs the installer in a copy of the project that has such a ``.venv``, on a disk with room."""
    (tmp_path / 'tools').mkdir()
    for name in ('tools/install.sh', 'requirements.txt', 'pyproject.toml', 'setup.py'):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.replace('REAL', sys.executable))
    python.chmod(0o755)
    df = tmp_path / 'bin' / 'df'
    df.parent.mkdir()
    df.write_text(DF)
    df.chmod(0o755)

    def run(**environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        notes = tmp_path / 'notes'
        notes.unlink(missing_ok=True)
        inherited = {
            k: v
            for k, v in os.environ.items()
            if k not in ('OPS', 'TORCH', 'TORCH_INDEX', 'PYTHON')
        }
        result = subprocess.run(
            [str(tmp_path / 'tools' / 'install.sh')],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={
                **inherited,
                'NOTES': str(notes),
                'PATH': f'{df.parent}:{os.environ["PATH"]}',
                **environment,
            },
        )
        return result, notes.read_text().splitlines() if notes.exists() else []

    return run


def position(notes: list[str], text: str) -> int:
    (found,) = [i for i, note in enumerate(notes) if text in note and not note.startswith(' ')]
    return found


def test_the_order(install) -> None:
    result, notes = install()
    assert result.returncode == 0, result.stderr
    order = [
        position(notes, 'numpy=='),
        position(notes, 'mmcv-full=='),
        position(notes, 'torch=='),
        position(notes, 'rest.txt'),
        position(notes, '-e .'),
    ]
    assert order == sorted(order)
    assert '--no-build-isolation' in notes[order[1]] and '--no-cache-dir' in notes[order[1]]
    rest = [note.strip() for note in notes if note.startswith('  ')]
    assert not [line for line in rest if line.startswith(('torch==', 'torchvision=='))]
    assert [line for line in rest if line.startswith('mmdet==')]


def test_a_second_run_does_nothing(install) -> None:
    install()
    result, notes = install()
    assert result.returncode == 0
    assert notes == []
    assert 'up to date' in result.stdout


def test_a_changed_requirement_is_installed(install, tmp_path: pathlib.Path) -> None:
    install()
    with (tmp_path / 'requirements.txt').open('a') as f:
        f.write('something==1.0\n')
    _, notes = install()
    assert '  something==1.0' in notes


def test_another_build_of_torch_is_kept(install) -> None:
    index = 'https://example.org/whl/cu126'
    result, notes = install(TORCH_INDEX=index)
    assert result.returncode == 0, result.stderr
    assert [n for n in notes if f'--index-url {index}' in n and 'torchvision==' in n]
    _, notes = install()
    assert notes == [], 'a choice that is not repeated stays'


def test_other_versions_of_torch(install) -> None:
    _, notes = install(TORCH='torch==2.9.1 torchvision==0.24.1')
    assert 'torchvision==0.24.1' in notes[position(notes, 'torch==2.9.1')]


def test_ops_are_compiled_after_torch(install) -> None:
    result, notes = install(OPS='1', COMPILER_FAILS='1')
    assert result.returncode == 1
    assert "compiling mmcv-full's ops failed" in result.stderr

    result, notes = install(OPS='1')
    assert result.returncode == 0, result.stderr
    first, last = (i for i, note in enumerate(notes) if 'mmcv-full==' in note and note[0] != ' ')
    assert first < position(notes, 'torch==') < position(notes, 'rest.txt') < last
    _, notes = install()
    assert notes == [], 'the choice stays'


@pytest.mark.parametrize(
    'environment, message',
    [
        ({'OPS': 'yes'}, 'OPS=yes: expected 0 or 1'),
        ({'VENV': '.venv2', 'PYTHON': '/bin/false'}, 'is not a Python 3.10, 3.11 or 3.12'),
    ],
)
def test_refusals_come_before_any_work(install, environment: dict, message: str) -> None:
    result, notes = install(**environment)
    assert result.returncode == 1
    assert message in result.stderr
    assert notes == []


def test_a_full_disk(install) -> None:
    result, notes = install(FREE_KB='2200000')
    assert result.returncode == 1
    assert '2 GB of disk are free beside .venv, about 8 GB are needed' in result.stderr
    assert notes == []


def test_the_ranges_admit_what_was_tested() -> None:
    """pyproject.toml and requirements.txt list the same packages, with the pins in the ranges."""
    from packaging.requirements import Requirement

    pins = {}
    for line in (ROOT / 'requirements.txt').read_text().splitlines():
        if line and not line.startswith('#'):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                pins[requirement.name] = str(requirement.specifier)[2:]
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    groups = [project['dependencies'], *project['optional-dependencies'].values()]
    ranges = [Requirement(r) for group in groups for r in group]
    for requirement in ranges:
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert set(pins) - {r.name for r in ranges} == {'wheel'}
