"""Run a command: its argument parser, its exit status, and the message if it fails.

The module of a command ends with ``run('oadp.NAME', main)``. ``main`` parses the arguments before it
imports torch and mmdet, so that help and argument errors appear at once.
"""

__all__ = ['ArgumentParser', 'run']

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from oadp.utils.errors import describe_error, find_cause, format_traceback, is_user_error

TRACEBACK = 'OADP_TRACEBACK'
INTERRUPTED = 130  # the exit status after Ctrl-C, as in shells

_BUG = (
    '{name}: this is a bug, in oadp or in a module that the config names. If it is not in a module '
    'of your own, please report it with the lines above and what `python -m oadp.doctor` prints'
)


class _TracebackAction(argparse.Action):
    """Set the environment variable, which the processes that the command starts inherit."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        os.environ[TRACEBACK] = '1'


class ArgumentParser(argparse.ArgumentParser):
    """Argument parser with the option ``--traceback``, which :func:`run` obeys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_argument(
            '--traceback',
            action=_TracebackAction,
            nargs=0,
            default=argparse.SUPPRESS,
            help=f'print the traceback of any error (as {TRACEBACK}=1 does)',
        )


def run(name: str, main: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process.

    The exit status is that of ``main`` (None is 0), 1 after an error, 2 after an error in the
    arguments, and 130 after Ctrl-C. For an error that a user can cause, a message of one or a few lines
    is printed to stderr; for any other one, the traceback and a request to report the bug.

    Args:
        name: prefix of the messages, such as ``oadp.dp.train``.
        main: parse ``sys.argv`` and run the command.
    """
    try:
        status = main() or 0
    except KeyboardInterrupt:
        print(f'{name}: interrupted', file=sys.stderr)
        status = INTERRUPTED
    except Exception as error:
        _report(name, error)
        status = 1
    raise SystemExit(status)


def _report(name: str, error: Exception) -> None:
    cause = find_cause(error)
    is_users = is_user_error(cause)
    if not is_users or _wants_traceback():
        print(format_traceback(error), file=sys.stderr)
    print(f'{name}: error: {describe_error(cause)}', file=sys.stderr)
    if not is_users:
        print(_BUG.format(name=name), file=sys.stderr)


def _wants_traceback() -> bool:
    # Not runtime's flags, which raise for other words: an error is already being reported.
    return os.environ.get(TRACEBACK, '').lower() not in ('', '0', 'false')
