"""Search for the nine parameters of the score fusion with NNI (TPE), on recorded scores.

    DUMP=work_dirs/dump python tools/nni_dp_test.py [--config CONFIG] [--max-trials N] [--port 8080]

Needs NNI (the extra `nni`) and the records that DUMP=work_dirs/dump python -m oadp.dp.test writes. Each
trial is a run of oadp.dp.test_nni. NNI's web page is available at the port during the search. At its
end, or after Ctrl-C, the best setting is printed and written to work_dirs/NAME/best.json, for
python -m oadp.dp.test CONFIG CHECKPOINT --fusion work_dirs/NAME/best.json.

The search uses the labels of its images: use --images train, and evaluate the result with
python -m oadp.dp.test_nni --images val, for a metric on images that the search did not use.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for a checkout that is not installed

from oadp.categories import get_categories  # noqa: E402
from oadp.utils import runtime  # noqa: E402
from oadp.utils.command import ArgumentParser, run  # noqa: E402
from oadp.utils.config import OverrideAction, load_config  # noqa: E402
from oadp.utils.search_arguments import add_search_arguments  # noqa: E402

POLL_SECONDS = 2

START_SECONDS = 60
"""Time for NNI's server to start."""

ANSWER_SECONDS = 300
"""Time without an answer of NNI after which the search ends with the finished trials."""

RANDOM_TRIALS = 20
"""Random trials before TPE starts (NNI's default); fewer in short searches."""

MOST_FAILURES = 3
"""Number of failed trials after which the search ends if none has succeeded."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = ArgumentParser(
        prog='tools/nni_dp_test.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--name', default='nni/dp_test', help='outputs go to work_dirs/NAME')
    parser.add_argument(
        '--config',
        type=pathlib.Path,
        default=pathlib.Path('configs/dp/oadp_ov_coco.py'),
        help='config of the detector (default: %(default)s)',
    )
    parser.add_argument(
        '--override',
        action=OverrideAction,
        default={},
        metavar='KEY:VALUE',
        help='change config keys: .a.b:LITERAL for a Python literal, .a.b::TEXT for a string',
    )
    parser.add_argument(
        '--max-trials',
        type=int,
        default=100,
        metavar='N',
        help='number of settings to evaluate (default: %(default)s)',
    )
    parser.add_argument(
        '--concurrency', type=int, default=1, metavar='N', help='number of concurrent trials'
    )
    parser.add_argument('--port', type=int, default=8080, help="port of NNI's web page")
    add_search_arguments(parser)
    args = parser.parse_args(argv)
    for option in ('max_trials', 'concurrency'):
        if getattr(args, option) < 1:
            parser.error(f'--{option.replace("_", "-")}: expected at least 1')
    return args


def check_environment(port: int) -> pathlib.Path:
    """Check what the search needs, and return the folder of the recorded scores.

    Raises:
        SystemExit: NNI is not installed, ``DUMP`` is not set, or the port is in use.
    """
    faults = []
    if importlib.util.find_spec('nni') is None:
        faults.append('NNI is not installed: pip install nni==3.0 (the extra `nni`)')
    if (dump_dir := runtime.dump_dir()) is None:
        faults.append('DUMP is not set: DUMP=work_dirs/dump python tools/nni_dp_test.py')
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(('', port))
        except OSError as e:
            faults.append(f'port {port} cannot be used ({e.strerror}): choose another with --port')
    if faults:
        raise SystemExit('\n'.join(faults))
    assert dump_dir is not None
    return dump_dir


def trial_command(args: argparse.Namespace, dump_dir: pathlib.Path) -> str:
    """Return the shell command of a trial, in the directory where the search was started."""
    words: list[object] = [sys.executable, '-m', 'oadp.dp.test_nni']
    words += [args.name, args.config, dump_dir]
    for option in ('objective', 'images'):
        if (value := getattr(args, option)) is not None:
            words += [f'--{option}', value]
    if args.override:
        words += ['--override', *(f'{k}:{v!r}' for k, v in args.override.items())]
    command = shlex.join(map(str, words))
    threads = max(1, (os.cpu_count() or 1) // args.concurrency)
    return (
        f'cd {shlex.quote(os.getcwd())} && OMP_NUM_THREADS={threads} '
        f'PYTHONPATH={shlex.quote(str(ROOT))}:$PYTHONPATH {command}'
    )


def make_experiment(args: argparse.Namespace, command: str, folder: pathlib.Path) -> Any:
    """Return an NNI experiment on this machine; it is not started."""
    from nni.experiment import Experiment, launcher

    from oadp.dp.fusion.scores import RANGES

    # NNI gives its server three seconds to answer; a busy machine takes longer.
    launcher._check_rest_server = functools.partial(
        launcher._check_rest_server, retry=START_SECONDS
    )
    experiment = Experiment('local')
    config = experiment.config
    config.experiment_name = args.name
    config.experiment_working_directory = folder.resolve()
    config.trial_command = command
    config.trial_code_directory = (
        ROOT / 'tools'
    )  # required by NNI; the command changes the directory
    config.search_space = {
        name: dict(_type='uniform', _value=[*bounds]) for name, bounds in RANGES.items()
    }
    config.tuner.name = 'TPE'
    config.tuner.class_args = dict(
        optimize_mode='maximize',
        tpe_args=dict(n_startup_jobs=min(RANDOM_TRIALS, max(1, args.max_trials // 4))),
    )
    config.max_trial_number = args.max_trials
    config.trial_concurrency = args.concurrency
    return experiment


@contextlib.contextmanager
def catch_interrupts() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second signal has Python's default effect.

    An exception could be raised in a callback in which Python or NNI suppresses exceptions, and the
    search would continue.
    """
    event = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            signal.default_int_handler(number, frame)
        event.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_experiment(experiment: Any, port: int) -> list[Any]:
    """Run an experiment to its end or until Ctrl-C; return NNI's ``TrialResult`` of finished trials.

    Raises:
        RuntimeError: the first trials failed, or NNI failed before any trial finished.
    """
    with catch_interrupts() as interrupted:
        experiment.start(port)
        try:
            return _watch(experiment, interrupted)
        finally:
            experiment.stop()


def _watch(experiment: Any, interrupted: threading.Event) -> list[Any]:
    logger = runtime.get_logger()
    results: list[Any] = []
    answered = time.monotonic()
    while not interrupted.wait(POLL_SECONDS):
        try:
            status, jobs = experiment.get_status(), experiment.list_trial_jobs()
            found = experiment.export_data()
            answered = time.monotonic()
        except OSError as e:  # of requests: a busy machine answers slowly
            if time.monotonic() - answered < ANSWER_SECONDS:
                continue
            if not results:
                raise RuntimeError(f'NNI does not answer: {e}') from e
            logger.error('NNI does not answer (%s): ending with %d trials', e, len(results))
            return results
        if len(found) > len(results):
            results = found
            best = max(r.value for r in results)
            logger.info('%d trials done, best objective %.4f', len(results), best)
        failed = [job for job in jobs if job.status == 'FAILED']
        if status == 'ERROR' or (len(failed) >= MOST_FAILURES and not results):
            raise RuntimeError(_describe_failure(status, failed))
        if status in ('DONE', 'STOPPED'):
            return results
    logger.warning('stopped before the end, after %d trials', len(results))
    return results


def _describe_failure(status: str, failed: list[Any]) -> str:
    if not failed:
        return f'the NNI experiment ended with status {status}; see nni/*/log in its folder'
    log = pathlib.Path(failed[0].logPath.removeprefix('file:')) / 'trial.stderr'
    tail = log.read_text(errors='replace')[-2000:] if log.is_file() else 'the log does not exist'
    return (
        f'{len(failed)} trials failed and none succeeded; the first one ends with ({log}):\n{tail}'
    )


def main(argv: list[str] | None = None) -> None:
    """Run the search and write the best setting."""
    args = parse_args(argv)
    dump_dir = check_environment(args.port)
    work_dir = runtime.work_dir(args.name)
    config = load_config(args.config, args.override)
    from oadp.dp.fusion.scores import FusionParameters
    from oadp.dp.fusion.setting import (
        evaluate_setting,
        open_search,
        print_result,
        write_json,
    )

    # The baseline; also checks the inputs before the search starts.
    default = evaluate_setting(
        *open_search(config, dump_dir, args.images), FusionParameters(), args.objective
    )
    print(f'default setting: {default["objective"]} {default["value"]:.4f}')

    experiment = make_experiment(args, trial_command(args, dump_dir), work_dir / 'nni')
    trials = run_experiment(experiment, args.port)

    results = [json.loads((work_dir / f'{t.trialJobId}.json').read_text()) for t in trials]
    best = max([default, *results], key=lambda result: result['value'])
    write_json(
        work_dir / 'best.json',
        dict(best, default_value=default['value'], trials=len(results), experiment=experiment.id),
    )
    print_result(best, get_categories(config.categories))
    if best is default:
        print(f'none of {len(results)} trials was better than the default setting')
    print(
        f'{best["objective"]}: {best["value"]:.4f} (default {default["value"]:.4f}); '
        f'written to {work_dir / "best.json"}, for oadp.dp.test --fusion'
    )


if __name__ == '__main__':
    run('tools/nni_dp_test.py', main)
