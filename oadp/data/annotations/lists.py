"""Check the images and categories of an annotation file, and the references to them."""

__all__ = ['CategoryList', 'ImageList', 'Need', 'check_references', 'image_name']

from collections import Counter
from collections.abc import Collection
from itertools import chain
from typing import Any, Literal

import numpy as np

from oadp.categories import Categories
from oadp.data.annotations.columns import Column, Records, examples_of
from oadp.data.annotations.findings import Findings

Need = Literal['annotations', 'any_name', 'box', 'coco_url', 'file_name', 'lvis', 'mask', 'size']

MIN_TRAINING_SIDE = 32  # pixels; mmdet does not train on smaller images
_MAX_PIXELS = 2**30
"""Maximum number of pixels of an image: OpenCV decodes no larger ones, so a larger size is an error."""

_SIZE_ADVICE = (
    'write the size of the image in pixels (python -m oadp.check_annotations FILE --images DIR '
    'compares sizes with the images)'
)
_LVIS_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')
_FREQUENCIES = ('r', 'c', 'f')
_NOT_LVIS = "not in LVIS's format; for a file in COCO's, use type OV_COCO"


def image_name(image: dict[str, Any], key: str = 'any_name') -> str:
    """Return the file name of an image, relative to the folder of images.

    Args:
        image: a checked image record.
        key: ``file_name``; ``coco_url``: the last two parts of the address, since LVIS uses images of
            both of COCO's splits; ``any_name``: ``file_name`` if present, otherwise ``coco_url``.
    """
    if key == 'file_name' or (key == 'any_name' and image.get('file_name')):
        return image['file_name']
    return '/'.join(image['coco_url'].split('/')[-2:])


class ImageList:
    """The images of a file.

    Args:
        needs: see ``AnnotationCheck``.
        errors: errors are added to these.
        tolerated: tolerated faults are added to these.
    """

    def __init__(self, needs: Collection[Need], errors: Findings, tolerated: Findings) -> None:
        self._needs = needs
        self._errors = errors
        self._tolerated = tolerated
        self.records: list[dict[str, Any]] = []
        self._ids: list[Column] = []
        self._sizes: list[Column] = []
        self._listed: list[Column] = []
        self.is_lvis = False

    def add(self, records: Records) -> None:
        """Check and add some of the images."""
        self.records.extend(records.records)
        self._ids.append(records.integers('id'))
        self._check_names(records)
        self._sizes.append(self._check_sizes(records))
        for key in _LVIS_LISTS:
            self._check_list(records, key)

    def _check_sizes(self, records: Records) -> Column:
        """Return (n, 2) heights and widths; −1 for missing or wrong sizes."""
        pairs = list(zip(records.values('height'), records.values('width'), strict=True))
        good = [_is_size(*pair) for pair in pairs]
        missing = [i for i, pair in enumerate(pairs) if pair == (None, None)]
        wrong = [i for i, ok in enumerate(good) if not ok and pairs[i] != (None, None)]
        if 'size' in self._needs:
            records.fault('without width and height', _SIZE_ADVICE, missing)
        said = (f'{pairs[i][1]!r:.20} × {pairs[i][0]!r:.20}' for i in wrong)
        examples = (
            f'{name}: {size}' for name, size in zip(records.names(wrong), said, strict=True)
        )
        self._errors.add(
            'images whose width and height are no size of an image',
            _SIZE_ADVICE,
            len(wrong),
            examples,
        )
        sizes = [pair if ok else (-1, -1) for pair, ok in zip(pairs, good, strict=True)]
        column = np.array(sizes, np.int64).reshape(-1, 2)
        small = column.min(axis=1)
        self._tolerated.add(
            f'images narrower or lower than {MIN_TRAINING_SIDE} pixels',
            'left out of training',
            np.count_nonzero((small > 0) & (small < MIN_TRAINING_SIDE)),
        )
        return column

    def _check_names(self, records: Records) -> None:
        needed = [k for k in ('file_name', 'coco_url') if k in self._needs]
        names = {key: records.values(key) for key in ('file_name', 'coco_url')}
        for key, values in names.items():
            required = key in needed
            wrong = [i for i, v in enumerate(values) if v is not None and not _is_name(v)]
            if required or 'any_name' in self._needs:
                records.fault(f'whose {key} is not a name', 'expected text', wrong, key)
            if required:
                missing = [i for i, v in enumerate(values) if v is None]
                records.fault(f'without {key}', _name_advice(key), missing)
        if 'any_name' in self._needs:
            pairs = enumerate(zip(*names.values(), strict=True))
            missing = [i for i, pair in pairs if pair == (None, None)]
            records.fault('without file_name', "give each its file's name", missing)

    def _check_list(self, records: Records, key: str) -> None:
        values = records.values(key)
        missing = [i for i, v in enumerate(values) if v is None]
        self.is_lvis |= len(missing) < len(values)
        if 'lvis' in self._needs:
            records.fault(f'without {key}', _NOT_LVIS, missing)
        lists = [v if _are_ids(v) else [] for v in values]
        wrong = [i for i, v in enumerate(values) if v is not None and not _are_ids(v)]
        records.fault(f'whose {key} is not a list of category ids', 'expected integers', wrong, key)
        lengths = list(map(len, lists))
        positions = np.repeat(np.array(records.positions, np.int64), lengths)
        listed = np.fromiter(chain.from_iterable(lists), np.int64, sum(lengths))
        self._listed.append(np.stack([positions, listed]))

    @property
    def listed(self) -> Column:
        """(2, n): positions of images, and category ids in their lists of LVIS."""
        return np.concatenate([np.zeros((2, 0), np.int64), *self._listed], axis=1)

    def finish(self) -> None:
        """Check the list as a whole."""
        self.ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int64)
        _check_unique('images', self.ids, self._errors)
        if not self._errors and not len(self.ids):
            self._errors.add('empty lists', 'expected at least one image', 1, ['"images"'])

    def sizes_hw(self, image_ids: Column) -> Column:
        """Return (2, n) heights and widths in pixels of added images; −1 if unknown."""
        if not self._ids:
            return np.full((2, len(image_ids)), -1)
        ids, sizes = np.concatenate(self._ids), np.concatenate(self._sizes)
        order = np.argsort(ids, kind='stable')
        position = order[np.searchsorted(ids, image_ids, sorter=order).clip(max=len(ids) - 1)]
        known = ids[position] == image_ids
        return np.where(known[:, None], sizes[position], -1).T


class CategoryList:
    """The categories of a file.

    Args:
        needs: see ``AnnotationCheck``.
        wanted: a set whose names must all be in the file; None for no such check.
        errors: errors are added to these.
    """

    def __init__(
        self, needs: Collection[Need], wanted: Categories | None, errors: Findings
    ) -> None:
        self._needs = needs
        self._wanted = wanted
        self._errors = errors
        self._ids: list[Column] = []
        self._names: list[str] = []
        self.is_lvis = False

    def add(self, records: Records) -> None:
        """Check and add some of the categories."""
        self._ids.append(records.integers('id'))
        names = records.values('name')
        wrong = [i for i, name in enumerate(names) if not _is_name(name)]
        records.fault('without a name', 'expected text', wrong, 'name')
        self._names += [name for name in names if _is_name(name)]
        values = records.values('frequency')
        wrong = [i for i, v in enumerate(values) if not isinstance(v, str) or v not in _FREQUENCIES]
        self.is_lvis |= len(wrong) < len(values)
        if 'lvis' in self._needs:
            records.fault('without a frequency of r, c or f', _NOT_LVIS, wrong, 'frequency')

    def finish(self) -> None:
        """Check the list as a whole."""
        self.ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int64)
        _check_unique('categories', self.ids, self._errors)
        twice = [repr(name) for name, count in Counter(self._names).items() if count > 1]
        self._errors.add(
            'names that several categories have',
            'merge these categories, or give each a name of its own',
            len(twice),
            twice,
        )
        if self._wanted is not None:
            found = set(self._names)
            missing = [repr(name) for name in self._wanted.all_ if name not in found]
            self._errors.add(
                'categories of the set that the file lacks',
                f'the set has {self._wanted.num_all} names, the file {len(found)}, such as '
                f'{sorted(found)[:3]}; names must match exactly',
                len(missing),
                missing,
            )


def check_references(
    ids: Column,
    image_ids: Column,
    category_ids: Column,
    images: ImageList,
    categories: CategoryList,
    errors: Findings,
) -> None:
    """Check that annotations are distinct, and refer to images and categories of the file.

    Args:
        ids: (n,) ids of the annotations; −1 for wrong ones.
        image_ids: (n,) image ids of the annotations; −1 for wrong ones.
        category_ids: (n,) category ids of the annotations; −1 for wrong ones.
        images: images of the file.
        categories: categories of the file.
        errors: errors are added to these.
    """
    _check_unique('annotations', ids, errors)
    for key, values, known, plural in (
        ('image_id', image_ids, images.ids, 'images'),
        ('category_id', category_ids, categories.ids, 'categories'),
    ):
        unknown = np.flatnonzero((values >= 0) & ~np.isin(values, known))
        errors.add(
            f'annotations whose {key} is not among the {plural}',
            f'add these {plural} to the file, or remove the annotations',
            len(unknown),
            examples_of('annotations', ids, unknown, values),
        )
    position, listed = images.listed
    is_unknown = ~np.isin(listed, categories.ids) & bool(len(categories.ids))
    unknown = np.flatnonzero(is_unknown)
    errors.add(
        f'category ids in {" or ".join(_LVIS_LISTS)} that are not among the categories',
        'add these categories, or remove the ids',
        len(unknown),
        (f'{listed[i]} in images[{position[i]}]' for i in unknown),
    )


def _check_unique(kind: str, ids: Column, errors: Findings) -> None:
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    twice = values[counts > 1]
    errors.add(
        f'{kind} with duplicate ids',
        'give each an id of its own',
        int((counts[counts > 1] - 1).sum()),
        (
            f'id {value}: {count} times'
            for value, count in zip(twice, counts[counts > 1], strict=True)
        ),
    )


def _is_name(value: Any) -> bool:
    if type(value) is not str or not value or '\0' in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_size(height: Any, width: Any) -> bool:
    return (
        type(height) is int
        and type(width) is int
        and min(height, width) > 0
        and height * width <= _MAX_PIXELS
    )


def _are_ids(value: Any) -> bool:
    return type(value) is list and all(type(v) is int and 0 <= v < 2**63 for v in value)


def _name_advice(key: str) -> str:
    if key == 'coco_url':
        return 'the address of LVIS, or use type COCO (oadp.oake) or OV_COCO, which use file_name'
    return "give each its file's name, relative to the folder of images"
