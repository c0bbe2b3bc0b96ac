"""Distinguish the exceptions that a user can cause from bugs, and describe them in a few lines.

This package uses ``raise`` for errors that a user can cause and ``assert`` for those that only a bug
can cause. An exception is therefore a user's error if a ``raise`` statement of this package raised it,
or if its class always concerns files, memory or data. All others are bugs, in this package or in a
module that the user added, and keep their traceback.
"""

__all__ = ['describe_error', 'find_cause', 'format_traceback', 'is_user_error']

import builtins
import dis
import json
import re
import traceback
import types
from collections.abc import Iterator

_PACKAGE = __name__.partition('.')[0]
_REGISTRY = 'mmcv.utils.registry'
_HOSTS = {_PACKAGE, '__main__', 'mmcv', 'mmdet', 'todd', 'torch', 'torchvision'}
"""If all frames are in these packages, an error of a constructor is an error of the config."""

_USER_CLASSES = (OSError, MemoryError, UnicodeError, json.JSONDecodeError)
_USER_MODULES = ('lmdb',)
"""Modules whose exceptions concern the file or the disk; compared by name, without an import."""

_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
_WORKER_KILLED = re.compile(r'DataLoader worker \(pid[^)]*\) (is killed|exited)')
_FROM_WORKER = re.compile(r'Caught (\w+) in (.+)\.\nOriginal Traceback')
_FRAME = re.compile(
    r'^  File "(?P<file>.+)", line \d+, in .+\n(?:    (?P<line>.+)\n)?', re.MULTILINE
)
_ARGUMENT = re.compile(r'__init__\(\) (got an unexpected keyword|missing \d+ required)')
_MAX_LINES = 12  # of a message


def find_cause(error: BaseException) -> BaseException:
    """Return the exception that mmcv's registry replaced by its own, or ``error`` itself.

    The registry raises ``type(e)(message)`` for an exception ``e`` of a constructor. This loses
    attributes such as a file name, and fails for classes whose constructor takes more arguments.
    """
    while _last_module(error) == _REGISTRY and error.__context__ is not None:
        error = error.__context__
    return error


def is_user_error(error: BaseException) -> bool:
    """Return whether a user can cause an exception, so that its message is sufficient.

    Args:
        error: an exception returned by ``find_cause``.
    """
    if isinstance(error, _USER_CLASSES) or type(error).__module__ in _USER_MODULES:
        return True
    text = str(error)
    if isinstance(error, RuntimeError) and (_MEMORY.search(text) or _WORKER_KILLED.search(text)):
        return True
    if (worker := _FROM_WORKER.match(text)) is not None:
        return _is_users_in_worker(worker[1], text)
    if isinstance(error, ModuleNotFoundError):
        return not (error.name or '').startswith(f'{_PACKAGE}.') and _is_ours(error)
    if _is_wrong_argument(error):
        return True
    if not _is_raised(error):
        # A constructor that does not take the config's arguments fails in the registry itself.
        return isinstance(error, TypeError) and _last_module(error) == _REGISTRY
    if _last_module(error) == _REGISTRY:
        return True
    if _last_package(error) in (_PACKAGE, '__main__'):
        return not isinstance(error, AssertionError)
    modules = list(_modules(error))
    is_of_hosts = {module.partition('.')[0] for module in modules} <= _HOSTS
    return is_of_hosts and _REGISTRY in modules and bool(text)


def describe_error(error: BaseException) -> str:
    """Return a message of one or a few lines that names the file, if there is one."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f'{" → ".join(names)}: {error.strerror}'
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    text = str(error).strip() or type(error).__name__
    if _FROM_WORKER.match(text):
        # The last line that is not indented starts the message; its class comes first.
        start = [m.start() for m in re.finditer(r'^\S', text, re.MULTILINE)][-1]
        text = re.sub(r'^[\w.]+: ', '', text[start:])
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return f'out of memory: {text.splitlines()[0]}'
    if isinstance(error, json.JSONDecodeError):
        return f'not JSON: {text}'
    if isinstance(error, TypeError) and (
        _last_module(error) == _REGISTRY or _is_wrong_argument(error)
    ):
        return f'the config does not fit: {text}'
    return '\n'.join(text.splitlines()[:_MAX_LINES])


def _is_wrong_argument(error: BaseException) -> bool:
    """Whether a constructor that the registry called was handed an argument that it does not take."""
    if not isinstance(error, TypeError) or not _ARGUMENT.search(str(error)):
        return False
    frames = [frame for frame, _ in _frames(error)]
    return frames[-1].f_code.co_name == '__init__' and _REGISTRY in _modules(error)


def _is_users_in_worker(name: str, text: str) -> bool:
    """Whether a user can cause an exception of a DataLoader's process, which is passed on as text."""
    kind = getattr(builtins, name, None)
    if name == 'JSONDecodeError' or (kind is not None and issubclass(kind, _USER_CLASSES)):
        return True
    frames = list(_FRAME.finditer(text))
    if not frames:
        return False
    file, line = frames[-1]['file'].replace('\\', '/'), frames[-1]['line'] or ''
    return f'/{_PACKAGE}/' in file and line.startswith('raise') and name != 'AssertionError'


def _frames(error: BaseException) -> Iterator[tuple[types.FrameType, int]]:
    """Yield frames and their last instructions, from where the error was caught to its origin."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lasti
        step = step.tb_next


def _modules(error: BaseException) -> Iterator[str]:
    for frame, _ in _frames(error):
        yield frame.f_globals.get('__name__', '')


def _last_module(error: BaseException) -> str:
    return list(_modules(error))[-1] if error.__traceback__ is not None else ''


def _last_package(error: BaseException) -> str:
    return _last_module(error).partition('.')[0]


def _is_ours(error: BaseException) -> bool:
    """Whether an import of this package, not of a user's module, raised the error."""
    modules = [m.partition('.')[0] for m in _modules(error) if not m.startswith('importlib')]
    return {*modules} <= _HOSTS


def _is_raised(error: BaseException) -> bool:
    """Whether a ``raise`` statement raised the error, not an operation that failed."""
    frames = list(_frames(error))
    if not frames:
        return False
    frame, last = frames[-1]
    return dis.opname[frame.f_code.co_code[last]] == 'RAISE_VARARGS'


def format_traceback(error: BaseException) -> str:
    """Return Python's traceback of an exception, as text."""
    return ''.join(traceback.format_exception(error)).rstrip()
