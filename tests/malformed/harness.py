"""Run commands on malformed inputs, each in a forked process, and judge what they do.

A fork has everything imported, so an input costs no start-up; and a crash, a hang or a large
allocation ends or marks that process alone.
"""

__all__ = ['Case', 'Fails', 'Passes', 'run_case']

import dataclasses
import importlib
import logging
import os
import pathlib
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_SECONDS = 40  # more is a hang
MAX_GROWTH = 1 << 30  # bytes of memory, more than the parent has; these inputs are tiny
CODE_RAN = 'code-ran'
"""The file that the code in malformed files writes."""

Make = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Fails:
    """The command reports an error.

    Attributes:
        pattern: regular expression of the message, which names the cause.
        status: exit status.
        check: whether what must be there in spite of the error is there.
    """

    pattern: str
    status: int = 1
    check: Callable[[], bool] | None = None


@dataclasses.dataclass(frozen=True)
class Passes:
    """The command succeeds.

    Attributes:
        pattern: regular expression of what it prints or logs.
        check: whether the outputs are right, asked in the folder of the run.
    """

    pattern: str = ''
    check: Callable[[], bool] | None = None
    status: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        id: what is wrong, and what reads it.
        make: writes the input in the current directory, a copy of the valid inputs.
        command: module of the command below ``oadp``, or ``tool:`` and a script of ``tools``.
        argv: its arguments.
        expect: the outcome.
        environment: variables that are set.
        may_change: valid inputs that the command may change.
    """

    id: str
    make: Make
    command: str
    argv: Sequence[str]
    expect: Fails | Passes
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    may_change: Sequence[str] = ()


def run_case(case: Case, valid: pathlib.Path, folder: pathlib.Path) -> tuple[str, str] | None:
    """Run a case in a copy of the valid inputs.

    Returns:
        None if the outcome is the expected one; else the kind of failure (``traceback``,
        ``silent loss`` or ``unsafe``), and why.
    """
    shutil.copytree(valid, folder / 'valid', symlinks=True)
    status, text, peak = _fork(lambda: _child(case), folder / 'valid', folder / 'printed')
    before, after = _snapshot(folder / 'valid/..before'), _stat(folder / 'valid')
    changed = [k for k, v in before.items() if after.get(k) != v and k not in case.may_change]
    outside = sorted({p.name for p in folder.iterdir()} - {'valid', 'printed', 'beside'})
    shutil.rmtree(folder)
    return _judge(case.expect, status, text, peak, changed, outside, CODE_RAN in after)


def _judge(
    expect: Fails | Passes,
    status: int,
    text: str,
    peak: int,
    changed: list[str],
    outside: list[str],
    code_ran: bool,
) -> tuple[str, str] | None:
    end = f'status {status}: {text.strip()[-1500:]}'
    if status < 0:
        return 'unsafe', f'killed by signal {-status}: {end}'
    if changed or outside or code_ran:
        return 'unsafe', f'changed {changed}, wrote {outside}, code ran: {code_ran}: {end}'
    if peak > MAX_GROWTH:
        return 'unsafe', f'took {peak / (1 << 20):.0f} MiB: {end}'
    if 'Traceback (most recent call last)' in text or 'this is a bug' in text:
        return 'traceback', text.strip()[-4000:]
    if status != expect.status or not re.search(expect.pattern, text, re.DOTALL):
        return 'silent loss', f'expected status {expect.status}, {expect.pattern!r}; {end}'
    if f'{_CHECK_FAILED}\n' in text:
        return 'silent loss', f'the outputs are wrong; {end}'
    return None


_CHECK_FAILED = '(the check of the outputs failed)'


def _stat(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file, by name; links are followed, so that nothing is written by them."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and name not in ('..before', 'lock.mdb'):
                stat = os.stat(path)
                found[os.path.relpath(path, folder)] = (stat.st_size, stat.st_mtime_ns)
    return found


def _snapshot(path: pathlib.Path) -> dict[str, tuple[int, int]]:
    """What the child wrote of its inputs before it ran the command."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = (line.split('\t') for line in lines)
    return {name: (int(size), int(time)) for name, size, time in rows}


def _child(case: Case) -> int:
    case.make()
    rows = (f'{k}\t{size}\t{time}' for k, (size, time) in _stat(pathlib.Path()).items())
    pathlib.Path('..before').write_text('\n'.join(rows))
    os.environ.update(case.environment)
    status = run_command(case.command, case.argv)
    if case.expect.check is not None and not case.expect.check():
        print(_CHECK_FAILED, flush=True)
    return status


def run_command(command: str, argv: Sequence[str]) -> int:
    """Run a command as ``python -m oadp.COMMAND`` does; returns its exit status."""
    from oadp.utils.command import run

    sys.argv = [command, *argv]
    try:
        run(f'oadp.{command}', lambda: _main(command)(list(argv)))
    except SystemExit as error:
        if isinstance(error.code, str):  # Python prints it
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0


def _main(command: str) -> Callable[[list[str]], Any]:
    if command.startswith('tool:'):
        path = pathlib.Path(__file__).parents[2] / 'tools' / f'{command[5:]}.py'
        spec = importlib.util.spec_from_file_location('__main__', path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main
    if command == 'from_pretrained':  # no command of its own, but what its folder is for
        from oadp import Detector

        return lambda argv: Detector.from_pretrained(argv[0]) and None
    if command.startswith('oake.'):
        kind = command.removeprefix('oake.')
        return lambda argv: importlib.import_module('oadp.oake.arguments').main(kind, argv)
    return importlib.import_module(f'oadp.{command}').main


def _fork(
    work: Callable[[], int], folder: pathlib.Path, printed: pathlib.Path
) -> tuple[int, str, int]:
    """Call a function in a forked process.

    Returns:
        Its exit status (negative: the signal that ended it), what it printed, and by how many bytes
        its memory exceeded that of this process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    own = _resident()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            _redirect(printed)
            os.chdir(folder)
            signal.alarm(MAX_SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = work()
        except BaseException:  # of the harness itself, or of a case's `make`
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, code, usage = os.wait4(pid, 0)
    text = printed.read_text(encoding='utf-8', errors='replace')
    return os.waitstatus_to_exitcode(code), text, usage.ru_maxrss * 1024 - own


def _resident() -> int:
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize()


def _redirect(printed: pathlib.Path) -> None:
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w', buffering=1)
    logger = logging.getLogger('oadp')
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.StreamHandler(sys.stderr))


def in_fork(command: str, argv: Sequence[str], folder: pathlib.Path, **environment: str) -> None:
    """Run a command that must succeed, to make a part of the valid inputs."""

    def work() -> int:
        os.environ.update(environment)
        return run_command(command, argv)

    status, text, _ = _fork(work, folder, folder / 'printed')
    (folder / 'printed').unlink()
    if status:
        raise RuntimeError(f'{command} {argv}: status {status}: {text}')
