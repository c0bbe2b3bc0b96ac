"""The console script, in processes of its own, as `python -m oadp` runs it."""

import pathlib
import subprocess
import sys

import pytest

from oadp.__main__ import COMMANDS, main, usage

ROOT = pathlib.Path(__file__).resolve().parents[1]


def oadp(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, '-m', 'oadp', *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize('module', [module for module, _ in COMMANDS.values()])
def test_every_entry_names_a_module(module: str) -> None:
    path = ROOT / module.replace('.', '/')
    assert path.with_suffix('.py').is_file() or (path / '__main__.py').is_file()


def test_help_does_not_import_torch() -> None:
    done = oadp('train', '--help', python=('-X', 'importtime'))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith('usage: python -m oadp.dp.train ')
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'argparse' in imported
    assert not imported & {'torch', 'mmcv', 'mmdet', 'todd', 'cv2'}


def test_arguments_and_exit_status_are_those_of_the_command(tmp_path: pathlib.Path) -> None:
    done = oadp('check-annotations', str(tmp_path / 'none.json'))
    assert done.returncode == 1
    assert 'oadp.check_annotations: error: ' in done.stderr and 'none.json' in done.stderr
    assert oadp('extract', 'globals', '--no-such-option').returncode == 2


@pytest.mark.parametrize('arguments', [['tarin', '--help'], ['extract'], ['extract', 'all'], []])
def test_unknown_command(arguments: list[str], capsys) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert usage() in err
    assert not arguments or f'unknown command {" ".join(arguments)!r}' in err


def test_usage(capsys) -> None:
    assert main(['--help']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith('  train ')]
    assert len([line for line in lines if line.startswith('  ')]) == len(COMMANDS)


@pytest.mark.slow  # builds a wheel and reads a config with todd in a process of its own
def test_wheel(tmp_path: pathlib.Path) -> None:
    """An installed package has the console script, the JSON files and the configs."""
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('pyproject.toml', 'setup.py', 'MANIFEST.in', 'README.md', 'oadp', 'configs'):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    options = ['-q', '--no-deps', '--no-build-isolation', '--no-index']
    subprocess.run([*pip, 'wheel', *options, '-w', tmp_path, source], check=True)
    (wheel,) = tmp_path.glob('*.whl')
    target = tmp_path / 'installed'
    subprocess.run([*pip, 'install', *options, '--target', target, wheel], check=True)
    assert (target / 'bin/oadp').is_file()
    program = (
        'import oadp; from oadp.utils.config import load_config; '
        'config = load_config("oadp_ov_coco"); '
        'print(oadp.__file__, config.model.type, len(oadp.categories.get_categories("coco").all_))'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', f'import oadp.categories; {program}'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={'PYTHONPATH': str(target), 'PATH': ''},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    file, kind, number = done.stdout.split()
    assert pathlib.Path(file).parent == target / 'oadp'
    assert (kind, number) == ('OADP', '65')
    assert f'using the shipped config {target / "oadp/configs/dp/oadp_ov_coco.py"}' in done.stderr
