"""Writing a file so that under its name it is whole, or what was there before."""

__all__ = ['atomic_write']

import contextlib
import os
import pathlib
from collections.abc import Iterator

from .utils.disk import naming_full_disk


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path to write to, whose file gets its name at the end of the block.

    It is beside the file, as renaming is atomic within a file system alone, and differs from process
    to process. After an error it is gone, and the file as it was.

    Args:
        path: the file; its folder is made.

    >>> with atomic_write('work_dirs/NAME/metrics.json') as temporary:  # doctest: +SKIP
    ...     temporary.write_text('{}')
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with naming_full_disk(path):
            yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
