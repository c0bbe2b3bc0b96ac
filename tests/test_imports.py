"""Imports point one way: commands → oake, prompts, dp, inference → clip, data → utils, categories."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

BELOW = {
    'compat': set(),
    'utils': {'compat'},
    'categories': {'compat', 'utils'},
    'data': {'compat', 'utils', 'categories'},
    'clip': {'compat', 'utils', 'categories', 'data'},
    'oake': {'compat', 'utils', 'categories', 'data', 'clip'},
    'prompts': {'compat', 'utils', 'categories', 'data', 'clip'},
    'dp': {'compat', 'utils', 'categories', 'data', 'clip'},
    'inference': {'compat', 'utils', 'categories', 'data', 'clip', 'prompts', 'dp'},
    'mini': {'compat', 'utils', 'categories', 'data', 'clip', 'prompts', 'dp', 'inference'},
}
"""Room to the rooms that it may import, besides itself."""

HOSTS = {'mmdet', 'mmcv'}
"""Only ``dp``, what uses a detector, and the adapters import these."""
WITH_HOSTS = {'dp', 'inference', 'compat', 'commands'}


def modules() -> dict[str, pathlib.Path]:
    """Dotted name to file of every module of the package."""
    found = {}
    for file in sorted((ROOT / 'oadp').rglob('*.py')):
        parts = file.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = file
    return found


MODULES = modules()


def room(module: str) -> str:
    """The package directly under ``oadp`` that a module is in; ``commands`` for those in no package."""
    parts = module.split('.')
    is_room = len(parts) > 1 and (ROOT / 'oadp' / parts[1]).is_dir()
    return parts[1] if is_room else 'commands'


def imports(module: str, nested: bool = True) -> set[str]:
    """Modules that a module imports: anywhere in its text, or at its top level only."""
    found = set()
    tree = ast.parse(MODULES[module].read_text(encoding='utf-8'))
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{module}:{node.lineno}: write the absolute name'
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                found.add(name if name in MODULES else str(node.module))
    return found


@pytest.mark.parametrize('module', MODULES)
def test_imports_point_one_way(module: str):
    own = room(module)
    if own == 'commands':
        return
    rooms = {
        room(name) for name in imports(module) if name.split('.')[0] == 'oadp' and name != 'oadp'
    }
    assert rooms <= BELOW[own] | {own}, f'{module} imports from {rooms - BELOW[own] - {own}}'


def test_no_circle():
    """Of imports that run when a module is imported; a factory may import what it makes."""
    graph = {m: {n for n in imports(m, nested=False) if n in MODULES and n != m} for m in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize('module', MODULES)
def test_only_detectors_need_mmdet(module: str):
    hosts = {name.split('.')[0] for name in imports(module)} & HOSTS
    assert not hosts or room(module) in WITH_HOSTS
