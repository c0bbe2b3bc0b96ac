"""The images of a split, and which of them have no record yet."""

__all__ = ['TIMEOUT', 'Split', 'find_missing', 'share']

import concurrent.futures
import dataclasses
import datetime
import logging
from collections.abc import Sequence
from typing import TypeVar

from oadp.data.features.stores import Store, check
from oadp.oake.image_list import ImageInfo
from oadp.oake.task import Task
from oadp.utils.distributed import all_gather
from oadp.utils.runtime import ProcessInfo

_Item = TypeVar('_Item')

TIMEOUT = datetime.timedelta(days=30)
"""How long processes wait for each other: on unequal machines they finish hours apart."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split and the features to extract.

    Attributes:
        name: name for messages.
        images: all images.
        task: kind of features.
        store: where to write the records.
        num_workers: number of reading threads.
        auto_fix: check existing records, and replace broken ones.
        redo: ignore existing records, and extract all.
    """

    name: str
    images: Sequence[ImageInfo]
    task: Task
    store: Store
    num_workers: int = 0
    auto_fix: bool = False
    redo: bool = False


def share(items: list[_Item], world: ProcessInfo) -> list[_Item]:
    """Return the items of this process; each item belongs to one process."""
    return items[world.rank :: world.size]


def find_missing(split: Split, dim: int, world: ProcessInfo, logger: logging.Logger) -> list[int]:
    """Find the images without a record, or with a broken one under ``auto_fix``.

    Returns:
        Their positions in ``split.images``, the same in every process.
    """
    if world.is_main:
        split.store.clean()
    # Only the main process lists the store: another one could already see its first new records.
    found = set(split.store.ids()) if world.is_main and not split.redo else set()
    found = all_gather(found, world, TIMEOUT)[0]
    if split.auto_fix and found:
        present = share([image for image in split.images if image.id in found], world)
        broken = _find_broken(split, present, dim, logger)
        found = found.difference(*all_gather(broken, world, TIMEOUT))
    return [i for i, image in enumerate(split.images) if image.id not in found]


def _find_broken(
    split: Split, images: list[ImageInfo], dim: int, logger: logging.Logger
) -> set[int]:
    """Read the records of images; return the ids of those that fail the check."""

    def is_broken(image: ImageInfo) -> bool:
        try:
            record = split.store.read(image.id)
            check(split.task.kind, record, count=split.task.count(image), dim=dim)
        except (OSError, ValueError) as e:
            logger.warning('extracted again: %s', e)
            return True
        return False

    with concurrent.futures.ThreadPoolExecutor(max(1, split.num_workers)) as pool:
        broken = pool.map(is_broken, images)
        return {image.id for image, bad in zip(images, broken, strict=True) if bad}
