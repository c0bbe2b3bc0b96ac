"""Load configs, override their values and write them.

Configs are Python files with ``_base_`` inheritance, read by ``todd.Config``. This module adds four
things: ``_delete_`` works in files, as in mmcv's configs; an override must name an existing key, so
that a typing error is reported; values in the authors' spelling are translated; and a config can be
converted to plain containers, for libraries that read a ``dict`` from C. ``load_config`` imports todd,
which takes seconds, after the arguments of a command are parsed.
"""

from __future__ import annotations

__all__ = [
    'OverrideAction',
    'add_config_arguments',
    'dump_config',
    'load_config',
    'parse_override',
    'to_plain',
]

import argparse
import ast
import os
import pathlib
import pprint
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oadp.utils import runtime
from oadp.utils.config_files import find_config
from oadp.utils.files import atomic_write

if TYPE_CHECKING:
    import todd

_PLAIN = '_'
"""Name of the config itself while an override key is parsed as a Python expression."""


def load_config(path: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> todd.Config:
    """Read a config file and apply overrides.

    Values in the authors' spelling are translated, each with a warning.

    Args:
        path: a Python file, or the name of a shipped config, see
            :func:`~oadp.utils.config_files.find_config`; ``_base_`` in it is one path or a list of
            paths, relative to the file.
        overrides: key to value, with keys as on the command line: ``.a.b`` or ``.a[0].b``. A key must
            exist, except for a new argument of a component (a dict with ``type``), which the component
            checks when it is built.

    Raises:
        FileNotFoundError: the file, or one of its bases, does not exist.
        ValueError: override keys are malformed or do not exist; all of them are listed.
    """
    path = find_config(path)
    from oadp.utils.config_layers import read_layers

    config = read_layers(path)
    config.pop('__doc__', None)  # the file's docstring
    _translate(config, path)
    faults = []
    for key, value in (overrides or {}).items():
        try:
            _override(config, key, value)
        except ValueError as e:
            faults.append(str(e))
    if faults:
        raise ValueError(f'{path}: ' + '; '.join(faults))
    _translate(config, path)
    return config


def _translate(config: todd.Config, path: pathlib.Path) -> None:
    from oadp.compat import translate_config

    for line in translate_config(config):
        runtime.get_logger().warning('%s: %s', path, line)


def _override(config: todd.Config, key: str, value: Any) -> None:
    *parents, last = _parse_key(key)
    node: Any = config
    walked = ''
    for step in parents:
        node = _child(node, step, key, walked)
        walked += _spell(step)
    is_component = isinstance(node, Mapping) and 'type' in node
    if not is_component or isinstance(last, int):
        _child(node, last, key, walked)
    if isinstance(node, tuple):
        raise ValueError(
            f'override {key!r}: {walked} is {node!r}, a tuple, whose items cannot be changed; '
            'override the whole tuple'
        )
    node[last] = value


def _parse_key(key: str) -> tuple[str | int, ...]:
    """Convert ``.a.b[0]`` to ``('a', 'b', 0)`` without evaluating it."""
    steps: list[str | int] = []
    try:
        node = ast.parse(_PLAIN + key, mode='eval').body
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Attribute):
                steps.append(node.attr)
            else:
                step = ast.literal_eval(node.slice)  # type: ignore[attr-defined]
                if not isinstance(step, (str, int)):
                    raise ValueError(f'{step!r} is neither a name nor an index')
                steps.append(step)
            node = node.value  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError, MemoryError, RecursionError, TypeError):
        steps = []
    if not steps or not key.startswith(('.', '[')):
        raise ValueError(
            f'override {key!r}: expected a key such as .a.b or .a[0].b, with the first dot'
        )
    return tuple(reversed(steps))


def _child(node: Any, step: str | int, key: str, walked: str) -> Any:
    if isinstance(node, Mapping):
        if step in node:
            return node[step]
        found = f'has {sorted(map(str, node))}'
    elif isinstance(node, (list, tuple)) and isinstance(step, int):
        if -len(node) <= step < len(node):
            return node[step]
        found = f'has {len(node)} items'
    else:
        found = f'is {node!r}'
    raise ValueError(
        f'override {key!r}: no {_spell(step)} in {walked or "the config"}, which {found}'
    )


def _spell(step: str | int) -> str:
    return f'[{step}]' if isinstance(step, int) else f'.{step}'


class OverrideAction(argparse.Action):
    """Action of ``--override``: ``.a.b:LITERAL`` (a Python literal) or ``.a.b::TEXT``; repeatable.

    Values are not evaluated: in an override from a file or a web form, ``.a:open(…)`` would be code.
    """

    def __init__(self, option_strings: list[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs=argparse.ZERO_OR_MORE, **kwargs)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Add the overrides of one occurrence of the option."""
        overrides = dict(getattr(namespace, self.dest, None) or {})
        for value in values:
            try:
                overrides.update([parse_override(value)])
            except ValueError as e:
                parser.error(f'{option_string} {e}')
        setattr(namespace, self.dest, overrides)


class _DictCalls(ast.NodeTransformer):
    """Convert ``dict(a=1)``, the spelling of config files, to the literal ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802  the name is Python's
        """Replace a call of ``dict`` that has only keyword arguments."""
        self.generic_visit(node)
        names = [keyword.arg for keyword in node.keywords]
        if getattr(node.func, 'id', None) != 'dict' or node.args or None in names:
            return node
        keys: list[ast.expr | None] = [ast.Constant(name) for name in names]
        return ast.Dict(keys, [keyword.value for keyword in node.keywords])


def parse_override(text: str) -> tuple[str, Any]:
    """Split an override of the command line into its key and its value.

    ``dict(a=1)`` counts as a literal. The first colon ends the key; if a second one follows, the rest
    is a string.

    Raises:
        ValueError: there is no colon, or the value is not a Python literal.

    >>> parse_override('.optimizer.lr:0.01'), parse_override('.root::data/mine')
    (('.optimizer.lr', 0.01), ('.root', 'data/mine'))
    """
    key, colon, value = text.partition(':')
    if not colon:
        raise ValueError(f'{text!r}: expected .key:LITERAL or .key::TEXT')
    if value.startswith(':'):
        return key, value[1:]
    try:
        expression = ast.parse(value.strip(), mode='eval')
        return key, ast.literal_eval(_DictCalls().visit(expression))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(
            f'{text!r}: {value!r:.100} is not a Python literal (a number, a quoted string, True, None, or '
            f'a list, tuple or dict of these); for a plain string write {key}::{value:.100}'
        ) from None


def add_config_arguments(parser: argparse.ArgumentParser, example: str = 'oadp_ov_coco') -> None:
    """Add the positional argument ``config`` and the option ``--override``, common to all commands.

    Args:
        parser: the parser of a command.
        example: name of a shipped config that the command reads, for its help.
    """
    parser.add_argument(
        'config',
        type=pathlib.Path,
        help=f'a Python config, or the name of one of those in configs/, such as {example}',
    )
    parser.add_argument(
        '--override',
        action=OverrideAction,
        default={},
        metavar='KEY:VALUE',
        help='change config keys: .a.b:LITERAL for a Python literal, .a.b::TEXT for a string',
    )


def section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Look up a dict of a loaded config.

    Args:
        config: a whole config.
        key: as of an override, such as ``.validator.dataloader.dataset``.

    Raises:
        ValueError: it is not there, or is something else than a dict.
    """
    node: Any = config
    walked = ''
    for name in key.split('.')[1:]:
        if name not in node:
            raise ValueError(f'the config has no {walked}.{name}; it has {sorted(node)}')
        node, walked = node[name], f'{walked}.{name}'
        if not isinstance(node, Mapping):
            raise ValueError(f'{walked} of the config is {node!r:.80}; expected a dict')
    return node


def to_plain(value: Any) -> Any:
    """Return a deep copy that consists of ``dict``, ``list``, ``tuple`` and ``set``.

    ``todd.Config`` keeps its items outside the ``dict`` that it inherits from, so C code (``json``,
    parts of ``copy``) sees an empty one.
    """
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(to_plain(v) for v in value)
    return value


def dump_config(config: todd.Config, path: str | os.PathLike) -> None:
    """Write the resolved config, atomically, as a file that ``load_config`` reads."""
    # todd's dumps() takes seconds, as it formats with yapf.
    text = '\n'.join(
        f'{key} = {pprint.pformat(value, width=100, sort_dicts=False)}'
        for key, value in to_plain(config).items()
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')
