"""The fusion search's tool: what it checks, what it starts, and a real experiment."""

import contextlib
import importlib.util
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.request

import pytest
from small_dump import make_small_dump

from oadp.dp.fusion.scores import RANGES, FusionParameters

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'nni_dp_test.py'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path])
    spec = importlib.util.spec_from_file_location('nni_dp_test', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'POLL_SECONDS', 0)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield module
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def free_port():
    with socket.socket() as s:
        s.bind(('', 0))
        return s.getsockname()[1]


def test_says_all_that_is_missing(tool, monkeypatch):
    monkeypatch.delenv('DUMP', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with socket.socket() as s:
        s.bind(('', 0))
        s.listen()
        port = s.getsockname()[1]
        with pytest.raises(SystemExit) as e:
            tool.check_environment(port)
    message = str(e.value)
    assert 'pip install nni==3.0' in message
    assert 'DUMP is not set' in message
    assert f'port {port} cannot be used' in message


def test_checks_the_dump_before_it_starts(tool, monkeypatch, tmp_path, free_port):
    files = make_small_dump(tmp_path, num_images=6, skip=(20,))
    monkeypatch.setenv('DUMP', str(files.dump))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
    monkeypatch.setattr(tool, 'make_experiment', lambda *_: pytest.fail('started'))
    with pytest.raises(FileNotFoundError, match='no record of 1 of 6 images'):
        tool.main(['--config', str(files.config), '--port', str(free_port)])


def test_trial_command_survives_the_shell(tool, tmp_path, monkeypatch):
    folder = tmp_path / 'with space'
    folder.mkdir()
    monkeypatch.chdir(folder)
    args = tool.parse_args(
        ['--config', "it's.py", '--objective', 'APr', '--images', 'train', '--concurrency', '2']
        + ['--override', '.a.b:[1, "x"]', '.c::text']
    )
    command = tool.trial_command(args, pathlib.Path('my dump'))
    words = shlex.split(command)
    assert words[:3] == ['cd', str(folder), '&&']
    words = words[words.index(sys.executable) :]
    assert words[1:6] == ['-m', 'oadp.dp.test_nni', 'nni/dp_test', "it's.py", 'my dump']
    from oadp.dp import test_nni

    trial = test_nni.parse_args(words[3:])
    assert (trial.objective, trial.images) == ('APr', 'train')
    assert trial.override == args.override == {'.a.b': [1, 'x'], '.c': 'text'}


class FakeExperiment:
    """Plays a list of (status, finished values, statuses of jobs), then Ctrl-C, where it is lost."""

    def __init__(self, steps, folder):
        self.steps, self.folder, self.stopped = list(steps), folder, False

    def start(self, port): ...

    def get_status(self):
        if not self.steps:
            with contextlib.suppress(BaseException):  # as a callback of Python's does
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.01)
            return 'RUNNING'
        self.step = self.steps.pop(0)
        if isinstance(self.step, OSError):
            raise self.step
        return self.step[0]

    def list_trial_jobs(self):
        return [types.SimpleNamespace(status=s, logPath=str(self.folder)) for s in self.step[2]]

    def export_data(self):
        return [types.SimpleNamespace(value=v) for v in self.step[1]]

    def stop(self):
        self.stopped = True


@pytest.mark.parametrize(
    ('steps', 'values'),
    [
        ([('RUNNING', [0.1], []), ('DONE', [0.1, 0.3], [])], [0.1, 0.3]),
        ([('RUNNING', [0.1, 0.2], [])], [0.1, 0.2]),  # Ctrl-C
        ([('RUNNING', [0.1], []), TimeoutError('late'), ('DONE', [0.1, 0.2], [])], [0.1, 0.2]),
        ([('RUNNING', [0.1], ['FAILED'] * 9), ('DONE', [0.1, 0.2], [])], [0.1, 0.2]),
    ],
)
def test_stops_and_keeps_what_is_done(tool, tmp_path, steps, values):
    experiment = FakeExperiment(steps, tmp_path)
    assert [r.value for r in tool.run_experiment(experiment, 0)] == values
    assert experiment.stopped


@pytest.mark.parametrize('values', [[], [0.1]])
def test_gives_up_where_nni_is_silent(tool, tmp_path, monkeypatch, values):
    monkeypatch.setattr(tool, 'ANSWER_SECONDS', 0)
    steps = [('RUNNING', values, []), TimeoutError('late'), ('DONE', [0.1, 0.2], [])]
    experiment = FakeExperiment(steps, tmp_path)
    if values:
        assert [r.value for r in tool.run_experiment(experiment, 0)] == values
    else:
        with pytest.raises(RuntimeError, match='NNI does not answer: late'):
            tool.run_experiment(experiment, 0)
    assert experiment.stopped


def test_gives_up_where_trials_only_fail(tool, tmp_path):
    (tmp_path / 'trial.stderr').write_text('ValueError: no such thing')
    experiment = FakeExperiment([('RUNNING', [], ['FAILED'] * 3)], tmp_path)
    with pytest.raises(RuntimeError, match='3 trials failed .*\nValueError: no such thing'):
        tool.run_experiment(experiment, 0)
    assert experiment.stopped


@pytest.fixture
def real_search(tmp_path, free_port, monkeypatch):
    """Start the tool as a user does, and yield the process and the files of the dump."""
    pytest.importorskip('nni')
    files = make_small_dump(tmp_path, num_images=8, num_rois=20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DUMP', 'dump')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    processes = []

    def start(*options: str) -> subprocess.Popen:
        command = [sys.executable, str(TOOL), '--config', 'config.py', '--port', str(free_port)]
        processes.append(
            subprocess.Popen(
                [*command, *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return processes[-1]

    yield types.SimpleNamespace(start=start, port=free_port, files=files)
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def page_is_there(port: int) -> bool:
    try:
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=5) as page:
            return b'<html' in page.read().lower()
    except OSError:
        return False


@pytest.mark.slow
def test_real_experiment(real_search):
    process = real_search.start('--max-trials', '2')
    assert wait_for(lambda: page_is_there(real_search.port), 300), 'the web page is not there'
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output

    folder = pathlib.Path('work_dirs/nni/dp_test')
    trials = [json.loads(p.read_text()) for p in folder.glob('?????.json')]
    assert len(trials) == 2
    settings = [t['parameters'] for t in trials]
    assert settings[0] != settings[1]
    for setting in settings:
        assert setting != FusionParameters().to_dict()
        assert all(low <= setting[name] <= high for name, (low, high) in RANGES.items())
    best = json.loads((folder / 'best.json').read_text())
    assert best['trials'] == 2
    assert best['value'] == max(best['default_value'], *(t['value'] for t in trials))
    assert best['parameters'] in [*settings, FusionParameters().to_dict()]
    assert f'{best["value"]:.4f}' in output
    assert FusionParameters.from_file(folder / 'best.json').to_dict() == best['parameters']
    assert not page_is_there(real_search.port)


@pytest.mark.slow
@pytest.mark.long  # as slow as the search that is not interrupted
def test_interrupted_experiment_reports_the_best(real_search):
    process = real_search.start('--max-trials', '50')
    folder = pathlib.Path('work_dirs/nni/dp_test')
    assert wait_for(lambda: len([*folder.glob('?????.json')]) >= 1, 400), 'no trial was finished'
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: to the children as well
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert (folder / 'best.json').is_file(), output
    assert not page_is_there(real_search.port)
