"""Convert lists of JSON records to columns of numbers, and report the faults in them.

A few thousand records are checked together. If all values of a column are valid, which NumPy checks at once,
the records are not checked one by one.
"""

__all__ = ['Column', 'Records', 'examples_of', 'positions_of']

import math
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from oadp.data.annotations.findings import Findings

Column = np.ndarray

_MAX_INTEGER = 2**63 - 1
_MAX_COORDINATE = 1e9  # pixels; float32 and areas stay finite
_MAX_AREA = _MAX_COORDINATE**2


class Records:
    """Some of the records of one list.

    Args:
        kind: name of the list, such as ``annotations``.
        records: JSON objects.
        start: position of the first record in the list.
        errors: faults are added to these.
    """

    def __init__(self, kind: str, records: list[Any], start: int, errors: Findings) -> None:
        self.kind = kind
        self._errors = errors
        if set(map(type, records)) - {dict}:
            wrong = [i for i, r in enumerate(records) if type(r) is not dict]
            errors.add(
                f'elements of "{kind}" that are not objects',
                'expected {…}',
                len(wrong),
                (f'{kind}[{start + i}]: {reprlib.repr(records[i])}' for i in wrong),
            )
        self.positions = [start + i for i, r in enumerate(records) if type(r) is dict]
        self.records = [records[i - start] for i in self.positions]

    def __len__(self) -> int:
        return len(self.records)

    def names(self, indices: Iterable[int], key: str | None = None) -> Iterator[str]:
        """Yield a name for each record: its id, or its position without an id; and the value of ``key``."""
        for i in indices:
            record_id = self.records[i].get('id')
            known = isinstance(record_id, (int, str)) and not isinstance(record_id, bool)
            name = f'id {record_id!r:.40}' if known else f'{self.kind}[{self.positions[i]}]'
            value = f': {reprlib.repr(self.records[i].get(key))}' if key and known else ''
            yield name + (value if key != 'id' else '')

    def fault(
        self, what: str, advice: str, indices: Sequence[int] | np.ndarray, key: str | None = None
    ) -> None:
        """Add an error about some of the records, with the values of ``key``."""
        self._errors.add(f'{self.kind} {what}', advice, len(indices), self.names(indices, key))

    def values(self, key: str) -> list[Any]:
        """Return the value of each record; None for records without the key."""
        return [r.get(key) for r in self.records]

    def integers(self, key: str) -> Column:
        """Return an id of each record: (n,) int64, −1 for missing or wrong ids."""
        values = self.values(key)
        if set(map(type, values)) == {int}:
            try:
                column = np.array(values, np.int64)
            except OverflowError:
                pass
            else:
                if column.min() >= 0:
                    return column
        good = [type(v) is int and 0 <= v <= _MAX_INTEGER for v in values]
        self.fault(f'without {key}', f'give each its {key}', _where(v is None for v in values))
        self.fault(
            f'whose {key} is not an integer',
            'write it as a whole number, without quotes or a decimal point',
            _where(v is not None and type(v) is not int for v in values),
            key,
        )
        self.fault(
            f'whose {key} is out of range',
            f'expected a number from 0 to {_MAX_INTEGER}',
            _where(type(v) is int and not ok for v, ok in zip(values, good, strict=True)),
            key,
        )
        return np.array([v if ok else -1 for v, ok in zip(values, good, strict=True)], np.int64)

    def boxes(self, required: bool = True) -> Column:
        """Return the ``bbox`` of each record.

        Args:
            required: whether a missing box is an error.

        Returns:
            (n, 4) float64: x, y, width, height in pixels; NaN for missing or wrong boxes.
        """
        values = self.values('bbox')
        column = _as_boxes(values)
        if column is None:
            good = [_is_box(v) for v in values]
            column = np.array(
                [v if ok else [math.nan] * 4 for v, ok in zip(values, good, strict=True)],
                np.float64,
            ).reshape(-1, 4)
            missing = _where(v is None for v in values)
            wrong = _where(v is not None and not ok for v, ok in zip(values, good, strict=True))
            if required:
                self.fault('without bbox', 'give each its box: [x, y, width, height]', missing)
            self.fault(
                'whose bbox is not four finite numbers',
                'expected [x, y, width, height] in pixels',
                wrong,
                'bbox',
            )
        self.fault(
            'whose bbox has a negative width or height',
            'expected [x, y, width, height] in pixels, not two corners',
            np.flatnonzero((column[:, 2:] < 0).any(axis=1)),
            'bbox',
        )
        return column

    def numbers(self, key: str) -> Column:
        """Return a non-negative number of each record: (n,) float64, NaN for missing or wrong numbers."""
        values = self.values(key)
        if set(map(type, values)) <= {int, float}:
            try:
                column = np.array(values, np.float64)
            except OverflowError:
                pass
            else:
                if (column >= 0).all() and (column < _MAX_AREA).all():
                    return column
        good = [type(v) in (int, float) and 0 <= v < _MAX_AREA for v in values]
        self.fault(
            f'whose {key} is not a number from 0',
            'write it as a finite number that is not negative, or leave it out',
            _where(v is not None and not ok for v, ok in zip(values, good, strict=True)),
            key,
        )
        return np.array([v if ok else math.nan for v, ok in zip(values, good, strict=True)], float)

    def flags(self, key: str) -> tuple[Column, Column]:
        """Return a flag of each record, 0 or 1.

        Returns:
            (n,) bool, whether it is 1; and (n,) bool, whether it is missing.
        """
        values = self.values(key)
        if not set(map(type, values)) <= {int, bool, type(None)} or set(values) - {0, 1, None}:
            self.fault(
                f'whose {key} is neither 0 nor 1',
                'write 0 or 1, or leave it out',
                _where(not (v is None or type(v) in (int, bool) and v in (0, 1)) for v in values),
                key,
            )
        return (
            np.array([v == 1 for v in values], bool),
            np.array([v is None for v in values], bool),
        )


def examples_of(kind: str, ids: Column, indices: Column, values: Column | None = None) -> list[str]:
    """Return names of a few records, with their values: the id, or the position if the id is −1."""
    names = []
    for i in indices[:10].tolist():
        name = f'id {ids[i]}' if ids[i] >= 0 else f'{kind}[{i}]'
        names.append(name if values is None else f'{name}: {values[i]}')
    return names


def positions_of(values: Column, ids: Column) -> Column:
    """Return the position of each value in (m,) distinct ids, which contain all values."""
    order = np.argsort(ids, kind='stable')
    return order[np.searchsorted(ids, values, sorter=order)]


def _where(faulty: Iterable[bool]) -> list[int]:
    return [i for i, bad in enumerate(faulty) if bad]


def _as_boxes(values: list[Any]) -> Column | None:
    """Return (n, 4) float64 if all values are boxes, otherwise None."""
    if set(map(type, values)) != {list} or set(map(len, values)) != {4}:
        return None
    flat = list(chain.from_iterable(values))
    if not set(map(type, flat)) <= {int, float}:
        return None
    try:
        column = np.array(flat, np.float64).reshape(-1, 4)
    except OverflowError:
        return None
    return column if (np.abs(column) < _MAX_COORDINATE).all() else None


def _is_box(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 4
        and all(type(v) in (int, float) and abs(v) < _MAX_COORDINATE for v in value)
    )
