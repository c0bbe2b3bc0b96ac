"""COCO-format annotation files, read in little memory.

Such files are long (COCO's training split 450 MB, LVIS's 1.1 GB) and decoded they are several times
that. So a file is held as one string; its annotations are decoded one at a time, to learn their
image and category, and remembered as spans of the string.
"""

__all__ = ['AnnotationFile', 'iterate_lists']

import array
import dataclasses
import json
import mmap
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

_BLANK = re.compile(r'[ \t\r\n]*')


@dataclasses.dataclass(frozen=True)
class AnnotationFile:
    """The text of an annotation file, and where its annotations are in it.

    Attributes:
        text: the whole file.
        images, categories: decoded.
        starts, ends: spans of the annotations in the text.
        image_ids, category_ids: of the annotations.
    """

    text: str
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    starts: array.array
    ends: array.array
    image_ids: array.array
    category_ids: array.array

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'AnnotationFile':
        """Read a file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, or not in the format of COCO.
        """
        path = pathlib.Path(path)
        if not path.stat().st_size:
            raise ValueError(f'{path}: the file is empty')
        with path.open('rb') as f:
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
                text = str(content, 'utf-8')
        images: list[dict[str, Any]] = []
        categories: list[dict[str, Any]] = []
        spans = {k: array.array('q') for k in ('starts', 'ends', 'image_ids', 'category_ids')}
        try:
            for key, value, start, end in iterate_lists(text):
                if key == 'annotations':
                    numbers = (start, end, value['image_id'], value['category_id'])
                    for column, number in zip(spans.values(), numbers, strict=True):
                        column.append(number)
                elif key == 'images':
                    images.append(value)
                elif key == 'categories':
                    categories.append(value)
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise ValueError(
                f'{path}: not an annotation file in the format of COCO ({type(e).__name__}: {e})'
            ) from e
        return cls(text, images, categories, **spans)


def iterate_lists(text: str) -> Iterator[tuple[str, Any, int, int]]:
    """The elements of the lists in a JSON object: key, decoded element, and its span in the text."""
    decode = json.JSONDecoder().raw_decode

    def skip(position: int) -> int:
        return _BLANK.match(text, position).end()  # type: ignore[union-attr]

    def expect(position: int, *expected: str) -> int:
        position = skip(position)
        found = text[position : position + 1]
        if found not in expected or not found:
            raise ValueError(f'character {position} is {found!r}, expected {" or ".join(expected)}')
        return position

    position = expect(0, '{')
    while text[position] != '}':
        key, position = decode(text, skip(position + 1))
        position = skip(expect(position, ':') + 1)
        if text[position : position + 1] != '[':
            _, position = decode(text, position)
        elif text[skip(position + 1)] == ']':
            position = skip(position + 1) + 1
        else:
            while text[position] != ']':
                start = skip(position + 1)
                value, end = decode(text, start)
                yield key, value, start, end
                position = expect(end, ',', ']')
            position += 1
        position = expect(position, ',', '}')
