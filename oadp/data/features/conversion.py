"""Convert between the two kinds of feature stores, and verify them: ``python -m oadp.features``."""

from __future__ import annotations

__all__ = ['main', 'run_command']

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oadp.utils.command import ArgumentParser
from oadp.utils.runtime import get_logger

if TYPE_CHECKING:
    from oadp.data.features.stores import Kind


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status, 1 if a record is faulty."""
    parser = ArgumentParser(
        prog='python -m oadp.features',
        description='Convert between the two kinds of stores of CLIP features, and verify them.',
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name, text in (
        ('pack', 'copy a folder of .pth files into one packed store (DST ends in .lmdb)'),
        ('unpack', 'copy a packed store into a folder of .pth files'),
        ('check', 'check every record; with DST, compare with its records'),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument('source', type=pathlib.Path, metavar='SRC')
        command.add_argument(
            'target', type=pathlib.Path, metavar='DST', nargs='?' if name == 'check' else None
        )
    args = parser.parse_args(argv)
    return run_command(args.command, args.source, args.target)


def run_command(command: str, source: pathlib.Path, target: pathlib.Path | None) -> int:
    """Run ``pack``, ``unpack`` or ``check``; return the exit status.

    Records that the target already has are not copied, so an interrupted conversion can be resumed.
    """
    from oadp.data.features.packed import convert, verify
    from oadp.data.features.stores import PACKED_SUFFIX, open_store

    if target is not None and command != 'check':
        is_packed, should = target.suffix == PACKED_SUFFIX, command == 'pack'
        if is_packed != should:
            raise ValueError(
                f'{command}: expected a target that {"ends" if should else "does not end"} in '
                f'{PACKED_SUFFIX}, found {target}; rename the target'
            )
    kind = _infer_kind(source)
    stores = open_store(source, kind), None if target is None else open_store(target, kind)
    faults = []
    if command != 'check':
        assert stores[1] is not None
        faults = convert(stores[0], stores[1])
    faults += [f for f in verify(*stores) if command == 'check' or not faults]
    logger = get_logger()
    for fault in faults:
        logger.error('%s', fault)
    logger.info(
        '%s: %d records of %s in %s, %d faults', command, len(stores[0].ids()), kind, source, len(faults)
    )  # fmt: skip
    return 1 if faults else 0


def _infer_kind(path: pathlib.Path) -> Kind:
    """Return the kind of features in a store, by its first readable record."""
    from oadp.data.features.stores import load_record, open_store

    store = open_store(path, 'globals')
    ids = store.ids()
    if not ids:
        raise FileNotFoundError(f'{path}: expected feature records, found none; check the path')
    for image_id in ids:
        try:
            record = load_record(store.read_bytes(image_id))
        except ValueError:
            continue
        if not isinstance(record, dict):
            return 'globals'
        return 'objects' if 'objectness' in record else 'blocks'
    raise ValueError(f'{path}: {len(ids)} records, but no readable one; extract the features again')
