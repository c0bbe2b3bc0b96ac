"""The images of an annotation file, as arrays that all processes of a machine share.

For commands that use no annotations. The whole file is checked, and only ids, sizes and names are kept, so
that the converted file is small.
"""

__all__ = ['ImageTable', 'open_images']

import functools
import json
import os
from collections.abc import Collection
from typing import Any

import numpy as np

from oadp.data.annotations.checks import check_exists, log_tolerated
from oadp.data.annotations.conversion import VERSION, add_images
from oadp.data.annotations.file import AnnotationFile
from oadp.data.annotations.lists import Need, image_name
from oadp.data.converted.array_file import ArrayFile, ArrayWriter
from oadp.data.converted.cache import open_converted


class ImageTable:
    """The images of a file, whose rows are the positions in its list.

    Args:
        file: as ``open_images`` converts it.

    Attributes:
        ids: (m,) int64.
        tolerated: what is assumed and left out, in one line; may be empty.
    """

    def __init__(self, file: ArrayFile) -> None:
        self._file = file
        self.tolerated: str = json.loads(file.read('meta', 0, file.size('meta')))['tolerated']
        self.ids = file.array('images')
        self._sizes_wh = file.array('sizes_wh')
        self._name_ends = file.array('name_ends')

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageTable, (self._file,)

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, row: int) -> str:
        """Return the file name of an image, see ``image_name``."""
        start = int(self._name_ends[row - 1]) if row else 0
        return self._file.read('names', start, int(self._name_ends[row])).decode()

    def size_wh(self, row: int) -> tuple[int, int] | None:
        """Return the width and height of an image in pixels; None if the file does not have them."""
        width, height = self._sizes_wh[row].tolist()
        return None if width == -1 else (width, height)


def open_images(
    path: str | os.PathLike, name_key: Need, needs: Collection[Need] = ()
) -> ImageTable:
    """Read and check an annotation file, and return its images.

    The file is converted once, see ``open_converted``.

    Args:
        path: a file in COCO's or LVIS's format; only the list ``images`` is required.
        name_key: the source of file names, see ``image_name``; checked like ``needs``.
        needs: see ``AnnotationCheck``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has faults; all are listed.
    """
    check_exists(path)
    checked = sorted({name_key, *needs})
    settings = dict(format='images', version=VERSION, name=name_key, needs=checked)
    convert = functools.partial(_convert, path, name_key, checked)
    table = ImageTable(open_converted(path, settings, convert))
    log_tolerated(path, table.tolerated)
    return table


def _convert(
    path: str | os.PathLike, name_key: Need, needs: Collection[Need], writer: ArrayWriter
) -> None:
    _, report = AnnotationFile.check(path, needs)
    report.raise_errors()
    names = [image_name(image, name_key).encode() for image in report.images]
    writer.add_bytes('names', names)
    writer.add_bytes('meta', [json.dumps(dict(tolerated=report.tolerated.summary())).encode()])
    writer.add('name_ends', np.cumsum([len(name) for name in names], dtype=np.int64))
    add_images(writer, report.images)
