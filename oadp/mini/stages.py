"""Run a pipeline of commands in the order of their dependencies, a few at a time.

A stage is a command that a user could type. It is skipped if it has completed with the same
command, configs and inputs. A killed stage is run again, from the start unless its command resumes
by itself.
"""

__all__ = ['Runner', 'Stage', 'StageError']

import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from oadp.utils.config import load_config, to_plain
from oadp.utils.files import atomic_write

POLL = 0.5  # seconds
HEARTBEAT = 30.0  # seconds between progress lines without a terminal


class StageError(RuntimeError):
    """A stage failed or cannot be run; the message names it and its log."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command and its outputs.

    Attributes:
        name: as shown to the user; also the name of the log.
        command: arguments of ``python``; those that end in ``.py`` are configs.
        outputs: files or folders that the command creates.
        needs: names of the stages whose outputs the command reads.
        resumes: whether the command continues by itself where it was killed.
    """

    name: str
    command: tuple[str, ...]
    outputs: tuple[pathlib.Path, ...]
    needs: tuple[str, ...] = ()
    resumes: bool = False

    def __str__(self) -> str:
        """Return the command as a line for a shell."""
        return 'python ' + shlex.join(self.command)


@dataclasses.dataclass
class _Running:
    stage: Stage
    process: subprocess.Popen
    start: float


class Runner:
    """Run stages with ``root`` as the working directory."""

    def __init__(
        self,
        root: pathlib.Path,
        folder: pathlib.Path,
        slots: int = 2,
        threads: int = 1,
        overwrite: bool = False,
    ) -> None:
        """Prepare a runner.

        Args:
            root: working directory of the commands, to which paths are relative.
            folder: for stamps and logs, relative to ``root``.
            slots: greatest number of commands that run at a time.
            threads: number of threads of each command.
            overwrite: whether to replace outputs of which the pipeline has no record.
        """
        self._root = root
        self._folder = root / folder
        self._slots = slots
        self._threads = threads
        self._overwrite = overwrite
        self._console = Console(stderr=True)
        self._digests: dict[str, str] = {}

    def run(self, stages: Sequence[Stage]) -> None:
        """Run the stages that are not complete.

        Args:
            stages: in an order in which they could be run one by one.

        Raises:
            StageError: a command failed (the others that run at the time are stopped), there are
                outputs without a record, or another process is running the pipeline.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._run(stages)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Exclude a second pipeline until the process ends: it would remove unfinished outputs."""
        with (self._folder / 'lock').open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StageError(
                    f'{self._folder}: another process is running these stages; wait until it ends, '
                    'or stop it'
                ) from None
            yield

    def _run(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            self._digests[stage.name] = self._digest(stage)
        done = {stage.name for stage in stages if self._is_done(stage)}
        waiting = collections.deque(stage for stage in stages if stage.name not in done)
        self._refuse_unrecorded(waiting)
        for stage in stages:
            if stage.name in done:
                self._console.print(f'[dim]{stage.name}: already complete ({stage.outputs[0]})[/]')
        running: list[_Running] = []
        with Live(console=self._console, refresh_per_second=2, transient=True) as live:
            try:
                while waiting or running:
                    for stage in [s for s in waiting if done.issuperset(s.needs)]:
                        if len(running) < self._slots:
                            waiting.remove(stage)
                            running.append(self._start(stage))
                    self._watch(running, len(done), len(stages), live)
                    for finished in [r for r in running if r.process.poll() is not None]:
                        running.remove(finished)
                        self._finish(finished)
                        done.add(finished.stage.name)
            finally:
                for other in running:
                    other.process.terminate()
                    other.process.wait()

    def _refuse_unrecorded(self, stages: Iterable[Stage]) -> None:
        unrecorded = [
            str(self._root / path)
            for stage in stages
            if not self._stamp(stage.name).is_file()
            for path in stage.outputs
            if (self._root / path).exists()
        ]
        if unrecorded and not self._overwrite:
            raise StageError(
                f'{", ".join(unrecorded)}: already there, and {self._folder} has no record of '
                'how they were made; move them away, or replace them with --overwrite'
            )

    def _stamp(self, name: str) -> pathlib.Path:
        return self._folder / f'{name.replace("/", "-")}.json'

    def _log(self, name: str) -> pathlib.Path:
        return self._stamp(name).with_suffix('.log')

    def _digest(self, stage: Stage) -> str:
        """Hash everything that the outputs depend on, except the code."""
        # Not todd's dumps(), which takes a second per config.
        configs = [to_plain(load_config(a)) for a in stage.command if a.endswith('.py')]
        inputs = [self._digests[name] for name in stage.needs]
        contents = json.dumps([stage.command, configs, inputs], sort_keys=True)
        return hashlib.sha256(contents.encode()).hexdigest()

    def _is_done(self, stage: Stage) -> bool:
        stamp = self._read_stamp(stage)
        return (
            stamp['digest'] == self._digests[stage.name]
            and stamp['done']
            and all((self._root / path).exists() for path in stage.outputs)
        )

    def _read_stamp(self, stage: Stage) -> dict:
        path = self._stamp(stage.name)
        if not path.is_file():
            return dict(digest='', done=False)
        return json.loads(path.read_text(encoding='utf-8'))

    def _write_stamp(self, stage: Stage, done: bool, seconds: float = 0.0) -> None:
        stamp = dict(digest=self._digests[stage.name], done=done, seconds=seconds)
        with atomic_write(self._stamp(stage.name)) as temporary:
            temporary.write_text(json.dumps(stamp), encoding='utf-8')

    def _start(self, stage: Stage) -> _Running:
        if not (stage.resumes and self._read_stamp(stage)['digest'] == self._digests[stage.name]):
            for output in stage.outputs:
                path = self._root / output
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._write_stamp(stage, done=False)
        self._console.print(f'[bold]{stage.name}[/]: {stage}', highlight=False, soft_wrap=True)
        package = pathlib.Path(__file__).resolve().parents[2]
        paths = [str(package), *filter(None, [os.environ.get('PYTHONPATH')])]
        threads = str(self._threads)
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(paths),
            OMP_NUM_THREADS=threads,
            MKL_NUM_THREADS=threads,
        )
        with self._log(stage.name).open('w') as log:
            process = subprocess.Popen(
                [sys.executable, *stage.command],
                cwd=self._root,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        return _Running(stage, process, time.monotonic())

    def _finish(self, finished: _Running) -> None:
        name = finished.stage.name
        if finished.process.returncode:
            tail = '\n'.join(self._log(name).read_text(errors='replace').splitlines()[-15:])
            raise StageError(
                f'{name}: `{finished.stage}` failed with exit status '
                f'{finished.process.returncode}; its output is in {self._log(name)} and ends with\n{tail}'
            )
        missing = [str(p) for p in finished.stage.outputs if not (self._root / p).exists()]
        if missing:
            raise StageError(f'{name}: `{finished.stage}` succeeded, but did not create {missing}')
        seconds = time.monotonic() - finished.start
        self._write_stamp(finished.stage, done=True, seconds=seconds)
        self._console.print(
            f'[green]{name}[/]: done in {seconds:.0f} s', highlight=False, soft_wrap=True
        )

    def _watch(self, running: list[_Running], done: int, total: int, live: Live) -> None:
        """Show the last line of each command's output, until a command ends or for a moment."""
        until = time.monotonic() + (
            POLL if live.is_started and self._console.is_terminal else HEARTBEAT
        )
        while True:
            table = Table.grid(padding=(0, 2))
            for r in running:
                elapsed = time.monotonic() - r.start
                table.add_row(r.stage.name, f'{elapsed:.0f} s', self._last_line(r.stage.name))
            if self._console.is_terminal:
                table.add_row(f'{done} of {total} stages')
                live.update(table)
            time.sleep(POLL)
            if any(r.process.poll() is not None for r in running):
                return
            if time.monotonic() >= until:
                if not self._console.is_terminal:
                    for r in running:
                        self._console.print(
                            f'  {r.stage.name}: {self._last_line(r.stage.name)}',
                            highlight=False,
                            soft_wrap=True,
                        )
                return

    def _last_line(self, name: str) -> str:
        with self._log(name).open('rb') as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(f.tell() - 2000, 0))
            lines = f.read().decode(errors='replace').splitlines()
        return next((line.strip()[:120] for line in reversed(lines) if line.strip()), '')
