"""Run a tool of mmdetection 2.x: ``python -m oadp.dp.mmdet_tool train CONFIG …``.

mmdet's tools import ``mmcv.ops`` before they read a config, so ``custom_imports`` of the config comes too
late where mmcv-full is installed without its compiled ops. This command puts the adapters in place
first, and then runs the file of the tool unchanged.
"""

__all__ = ['find_tool', 'tools']

import argparse
import importlib.util
import pathlib
import runpy
import sys

from oadp.dp import register
from oadp.utils.command import ArgumentParser, run


def tools() -> dict[str, pathlib.Path]:
    """Return mmdet's tools, as installed with its package, by name (``train``, ``get_flops``)."""
    spec = importlib.util.find_spec('mmdet')
    if spec is None or spec.origin is None:
        return {}
    folder = pathlib.Path(spec.origin).parent / '.mim' / 'tools'
    # Of two files of one name, the one in the outer folder: tools/test.py, not deployment/test.py.
    files = sorted(folder.rglob('*.py'), key=lambda file: -len(file.parts))
    return {file.stem: file for file in files}


def find_tool(name: str) -> pathlib.Path:
    """Return the file of a tool.

    Args:
        name: one of :func:`tools`, or the path of a Python file.

    Raises:
        ValueError: neither; the names are listed.
    """
    if name.endswith('.py') and pathlib.Path(name).is_file():
        return pathlib.Path(name)
    found = tools()
    if name not in found:
        raise ValueError(
            f'{name!r} is not a tool of mmdet: choose from {sorted(found)}, or give the path of a '
            'Python file, such as tools/train.py of a checkout of mmdetection'
        )
    return found[name]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command; those of the tool are not looked at."""
    parser = ArgumentParser(
        prog='python -m oadp.dp.mmdet_tool',
        description='Run a tool of mmdetection 2.x, with or without compiled ops and a GPU, such as '
        'train, test, get_flops, benchmark, browse_dataset or analyze_logs. `oadp.dp.mmdet_config` '
        'writes the config that they read.',
    )
    parser.add_argument('tool', help='its name, or the path of a Python file')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help='of the tool; TOOL --help lists them'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    file = find_tool(args.tool)
    register()
    from oadp.compat.mmdet_tools import adapted

    arguments = sys.argv
    sys.argv = [str(file), *args.arguments]
    try:
        with adapted():
            runpy.run_path(str(file), run_name='__main__')
    finally:
        sys.argv = arguments


if __name__ == '__main__':
    run('oadp.dp.mmdet_tool', main)
