"""Help and errors of the arguments come before torch and mmdet are imported."""

import pathlib
import subprocess
import sys

import pytest

from oadp.__main__ import COMMANDS as MODULES

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMANDS = sorted(module.removeprefix('oadp.') for module, _ in MODULES.values())
HEAVY = ('cv2', 'mmcv', 'mmdet', 'nni', 'sklearn', 'supervision', 'tensorboard', 'todd', 'torch')

# Runs a command as `python -m` does, in one process for many of them: sys.orig_argv is what tells
# the package that its command is being located.
PROBE = """
import runpy, sys
for command in sys.argv[1].split():
    for option, status in (('--help', 0), ('--no-such-option', 2)):
        for name in [n for n in sys.modules if n.partition('.')[0] == 'oadp']:
            del sys.modules[name]
        sys.orig_argv = ['python', '-m', f'oadp.{command}', option]
        sys.argv = ['-m', option]
        import importlib
        importlib.import_module(f'oadp.{command}'.rpartition('.')[0])
        sys.argv[0] = 'command.py'
        try:
            runpy.run_module(f'oadp.{command}', run_name='__main__', alter_sys=True)
            raise AssertionError(f'{command} {option} went on')
        except SystemExit as e:
            assert e.code == status, (command, option, e.code)
        heavy = [name for name in sys.argv[2:] or HEAVY if name in sys.modules]
        assert not heavy, f'{command} {option} imports {heavy}'
"""


def test_arguments_are_parsed_before_heavy_imports() -> None:
    probe = f'HEAVY = {HEAVY}\n{PROBE}'
    done = subprocess.run(
        [sys.executable, '-c', probe, ' '.join(COMMANDS)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for command in COMMANDS:
        assert f'usage: python -m oadp.{command} ' in done.stdout
        assert f'python -m oadp.{command}: error: ' in done.stderr


@pytest.mark.parametrize(
    'command', ['-m oadp.dp.train', '-m oadp.oake.globals', 'tools/nni_dp_test.py']
)
def test_a_process_of_its_own(command: str) -> None:
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', *command.split(), '--help'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'argparse' in imported
    assert not imported.intersection(HEAVY)


def test_the_console_script_has_every_command() -> None:
    files = [*ROOT.glob('oadp/*.py'), *ROOT.glob('oadp/*/*.py')]
    found = {
        '.'.join(file.relative_to(ROOT / 'oadp').with_suffix('').parts)
        for file in files
        if "__name__ == '__main__'" in file.read_text(encoding='utf-8')
    }
    stages_of_the_demo = {
        f'mini.{name}' for name in ('__main__', 'dataset', 'figure', 'shipped_clip', 'teacher')
    }
    assert found - stages_of_the_demo - {'__main__'} == set(COMMANDS) - {'mini'}


@pytest.mark.slow  # imports mmdet in a process of its own
def test_another_package_located_by_m_has_the_modules_registered(tmp_path: pathlib.Path) -> None:
    """A user's ``python -m mine.train``, whose package imports ``oadp.dp`` while it is located."""
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/__init__.py').write_text('import oadp.dp')
    (tmp_path / 'mine/train.py').write_text(
        "from mmdet.models import DETECTORS\nassert DETECTORS.get('OADP')"
    )
    environment = {'PYTHONPATH': f'{ROOT}:{tmp_path}', 'PATH': '', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-W', 'ignore', '-m', 'mine.train']
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
