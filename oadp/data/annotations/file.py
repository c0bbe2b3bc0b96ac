"""Read annotation files in COCO's format with little memory.

Files are large (450 MB for COCO's training split, 1.1 GB for LVIS's), and decoded they need several times
the memory. So a file is kept as one string. Its annotations are decoded one at a time to get their image and
category, and stored as spans of the string.
"""

__all__ = ['AnnotationFile', 'elements', 'iterate_lists']

import array
import dataclasses
import json
import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from oadp.categories import Categories
from oadp.data.annotations.checks import AnnotationCheck, Need, Report, not_an_object
from oadp.utils.json_text import json_fault, read_text

_ANNOTATIONS: tuple[Need, ...] = ('annotations',)
_BLANK = re.compile(r'[ \t\r\n]*')


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The text of an annotation file, and the positions of its annotations.

    Attributes:
        text: content of the file.
        images: decoded image records.
        categories: decoded category records.
        starts: positions in the text where annotations start.
        ends: positions in the text after the annotations.
        image_ids: image id of each annotation.
        category_ids: category id of each annotation.
    """

    text: str
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    starts: array.array
    ends: array.array
    image_ids: array.array
    category_ids: array.array

    @classmethod
    def read(
        cls,
        path: str | os.PathLike,
        needs: Collection[Need] = _ANNOTATIONS,
        categories: Categories | None = None,
    ) -> 'AnnotationFile':
        """Read and check a file.

        Args:
            path: a file in COCO's or LVIS's format.
            needs: see ``AnnotationCheck``.
            categories: see ``AnnotationCheck``.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file has faults; all are listed.
        """
        file, report = cls.check(path, needs, categories)
        report.use()
        return file

    @classmethod
    def check(
        cls,
        path: str | os.PathLike,
        needs: Collection[Need] = _ANNOTATIONS,
        categories: Categories | None = None,
    ) -> tuple['AnnotationFile', Report]:
        """Read a file as ``read`` does, and return its faults in a report.

        Args:
            path: see ``read``.
            needs: see ``AnnotationCheck``.
            categories: see ``AnnotationCheck``.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is truncated, or not JSON in UTF-8, or not an object.
        """
        text = read_text(path)
        check = AnnotationCheck(needs, categories)
        starts, ends = array.array('q'), array.array('q')
        found: list[dict[str, Any]] = []
        kinds: dict[str, str] = {}
        for key, value, start, end in elements(path, text, kinds):
            check.add(key, value)
            if key == 'annotations':
                starts.append(start)
                ends.append(end)
            elif key == 'categories':
                found.append(value)
        report = check.finish(path, kinds)
        image_ids, category_ids = (
            array.array('q', ids.tobytes())
            for ids in (report.columns.image_ids, report.columns.category_ids)
        )
        return cls(text, report.images, found, starts, ends, image_ids, category_ids), report


def elements(
    path: str | os.PathLike,
    text: str,
    kinds: dict[str, str],
    others: dict[str, Any] | None = None,
) -> Iterator[tuple[str, Any, int, int]]:
    """Iterate as ``iterate_lists`` does, with errors that name the file."""
    try:
        yield from iterate_lists(text, kinds, others)
    except (ValueError, RecursionError) as e:
        fault = json_fault(text, e)
    else:
        return
    if text[:64].lstrip().startswith('['):
        raise ValueError(not_an_object(path, 'list'))
    raise ValueError(f'{path}: {fault}')


def iterate_lists(
    text: str, kinds: dict[str, str] | None = None, others: dict[str, Any] | None = None
) -> Iterator[tuple[str, Any, int, int]]:
    """Yield the elements of the lists in a JSON object.

    Args:
        text: the JSON object.
        kinds: filled with the type of each key's value: ``list``, ``dict``, ….
        others: filled with the values that are not lists.

    Yields:
        Key, decoded element, and the start and end of its span in the text.

    Raises:
        json.JSONDecodeError: the text is not a JSON object.
    """
    decode = json.JSONDecoder().raw_decode
    kinds = {} if kinds is None else kinds
    others = {} if others is None else others

    def skip(position: int) -> int:
        return _BLANK.match(text, position).end()  # type: ignore[union-attr]

    def expect(position: int, *expected: str) -> int:
        position = skip(position)
        if text[position : position + 1] not in expected or position >= len(text):
            raise json.JSONDecodeError(f'expected {" or ".join(expected)}', text, position)
        return position

    position = expect(0, '{')
    if text[skip(position + 1) : skip(position + 1) + 1] == '}':
        position = skip(position + 1)
    while text[position] != '}':
        key, position = decode(text, expect(position + 1, '"'))
        if key in kinds:
            raise json.JSONDecodeError(f'duplicate key {key!r}', text, position - 1)
        position = skip(expect(position, ':') + 1)
        if text[position : position + 1] != '[':
            others[key], position = value, _ = decode(text, position)
            kinds[key] = type(value).__name__
        else:
            kinds[key] = 'list'
            if text[skip(position + 1) : skip(position + 1) + 1] == ']':
                position = skip(position + 1) + 1
            else:
                while text[position] != ']':
                    start = skip(position + 1)
                    value, end = decode(text, start)
                    yield key, value, start, end
                    position = expect(end, ',', ']')
                position += 1
        position = expect(position, ',', '}')
    if skip(position + 1) < len(text):
        raise json.JSONDecodeError('unexpected text after the end', text, skip(position + 1))
