"""Write the open-vocabulary splits of annotation files in COCO's format.

Category ids are replaced by labels: base classes first, then novel ones, from 0. ``STEM.48.json`` (the
number of base classes) contains the annotations of the base classes, ``STEM.65.json`` (the number of
all classes) those of all classes, and ``STEM.65.min.json`` the same with only the annotated images.
Each file lists all categories.

Most of an annotation file are polygons, which do not change, so the text of an annotation is copied and
only its category id replaced.
"""

__all__ = ['DATASETS', 'build', 'build_datasets', 'build_files', 'check_outputs']

import json
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from oadp.categories import Categories, get_categories
from oadp.data.annotations.file import AnnotationFile
from oadp.data.annotations.lists import Need
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file

DATASETS = {
    'coco': ('coco/annotations', {'instances_train2017': False, 'instances_val2017': True}),
    'lvis': ('lvis_v1/annotations', {'lvis_v1_train': False, 'lvis_v1_val': False}),
}
"""Category set to its folder under the data root and its files; True to write ``.min`` as well."""

_NEEDS: list[Need] = ['annotations', 'any_name', 'box', 'size']
_NOT_IN_SET = -1  # label of a category that is not in the set
_CATEGORY_ID = re.compile(r'"category_id"\s*:\s*\d+')
_LABEL_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')  # of LVIS's images


def build(
    path: str | os.PathLike,
    categories: Categories,
    out_dir: str | os.PathLike | None = None,
    with_min: bool = True,
) -> list[pathlib.Path]:
    """Write the splits of an annotation file. Each file is written atomically.

    Args:
        path: a file in COCO's or LVIS's format whose categories include those of the set.
        categories: the category set.
        out_dir: where to write; by default the folder of the source.
        with_min: whether to also write the split with only annotated images.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has another format, or lacks a category of the set; all faults are listed.
    """
    path = pathlib.Path(path)
    logger = runtime.get_logger()
    logger.info('%s: reading %.0f MB', path, path.stat().st_size / 1e6)
    source = AnnotationFile.read(path, _NEEDS, categories)
    labels = _labels(source, categories)
    splits = _splits(path, categories, out_dir, with_min)
    for out, (num_labels, only_annotated) in splits.items():
        counts = _write(out, source, categories, labels, num_labels, only_annotated)
        logger.info('%s: %d images, %d annotations', out, *counts)
    return list(splits)


def _splits(
    path: pathlib.Path,
    categories: Categories,
    out_dir: str | os.PathLike | None,
    with_min: bool = True,
) -> dict[pathlib.Path, tuple[int, bool]]:
    """Return the files of a source, with the number of labels and whether only annotated images."""
    folder = path.parent if out_dir is None else pathlib.Path(out_dir)
    bases, all_ = categories.num_bases, categories.num_all
    splits = {
        folder / f'{path.stem}.{bases}.json': (bases, False),
        folder / f'{path.stem}.{all_}.json': (all_, False),
    }
    if with_min:
        splits[folder / f'{path.stem}.{all_}.min.json'] = (all_, True)
    return splits


def check_outputs(
    paths: Sequence[pathlib.Path], categories: Categories, out_dir: pathlib.Path | None
) -> None:
    """Check that no two sources have the same output and that no output is a source.

    Raises:
        ValueError: two sources have the same output, an output is a source or cannot be written.
    """
    sources: dict[str, pathlib.Path] = {}
    for path in paths:
        for out in _splits(path, categories, out_dir):
            check_file('--out-dir', out, inputs=paths)
            # Some file systems ignore case.
            other = sources.setdefault(os.path.realpath(out).casefold(), path)
            if other != path:
                raise ValueError(
                    f'{other} and {path} would both be written to {out}; nothing is written: '
                    'omit --out-dir, or run the command for each file with a different folder'
                )


def _labels(source: AnnotationFile, categories: Categories) -> dict[int, int]:
    """Map each category id of the file to its label."""
    order = {name: label for label, name in enumerate(categories.all_)}
    return {c['id']: order.get(c['name'], _NOT_IN_SET) for c in source.categories}


def _write(
    path: pathlib.Path,
    source: AnnotationFile,
    categories: Categories,
    labels: dict[int, int],
    num_labels: int,
    only_annotated: bool,
) -> tuple[int, int]:
    """Write a split; return the numbers of images and annotations."""
    kept = [i for i, c in enumerate(source.category_ids) if 0 <= labels[c] < num_labels]
    images = source.images
    if only_annotated:
        annotated = {source.image_ids[i] for i in kept}
        images = [image for image in images if image['id'] in annotated]
    by_name = {c['name']: c for c in source.categories}
    with atomic_write(path) as temporary, temporary.open('w', encoding='utf-8') as f:
        f.write('{"categories": ')
        _write_list(f, (json.dumps({**by_name[n], 'id': i}) for i, n in enumerate(categories.all_)))
        f.write(',\n"annotations": ')
        _write_list(f, (_relabel(source, i, labels[source.category_ids[i]]) for i in kept))
        f.write(',\n"images": ')
        _write_list(f, (json.dumps(_relabel_image(image, labels)) for image in images))
        f.write('}\n')
    return len(images), len(kept)


def _relabel(source: AnnotationFile, index: int, label: int) -> str:
    text = source.text[source.starts[index] : source.ends[index]]
    new, count = _CATEGORY_ID.subn(f'"category_id": {label}', text)
    if count != 1:  # a nested object or a string contains the key, too
        new = json.dumps({**json.loads(text), 'category_id': label})
    return new


def _relabel_image(image: dict[str, Any], labels: dict[int, int]) -> dict[str, Any]:
    lists = {
        key: [labels[i] for i in image[key] if labels[i] != _NOT_IN_SET]
        for key in _LABEL_LISTS
        if key in image
    }
    return {**image, **lists}


def _write_list(f: TextIO, items: Iterable[str]) -> None:
    f.write('[')
    for i, item in enumerate(items):
        f.write(',\n' if i else '\n')
        f.write(item)
    f.write(']')


def build_datasets(data_root: pathlib.Path, datasets: Sequence[str]) -> None:
    """Write the splits of COCO and LVIS, of those files that exist.

    Args:
        data_root: folder of ``coco`` and ``lvis_v1``.
        datasets: keys of ``DATASETS``.

    Raises:
        FileNotFoundError: none of the files exists.
    """
    missing, written = [], 0
    for name in datasets:
        folder, stems = DATASETS[name]
        for stem, with_min in stems.items():
            path = data_root / folder / f'{stem}.json'
            if path.is_file():
                written += len(build(path, get_categories(name), with_min=with_min))
            else:
                missing.append(path)
    for path in missing:
        runtime.get_logger().warning(
            '%s does not exist, so its splits are not written; see docs/preparation.md', path
        )
    if not written:
        raise FileNotFoundError(
            f'no annotation file found, expected {", ".join(map(str, missing))}; download them '
            '(docs/preparation.md), or give their folder with --data-root'
        )


def build_files(
    paths: Sequence[pathlib.Path], categories: str, out_dir: pathlib.Path | None
) -> None:
    """Write the splits of some annotation files.

    Args:
        paths: the files.
        categories: name or JSON file of their category set.
        out_dir: where to write; the folder of each file by default.

    Raises:
        FileNotFoundError: one of the files does not exist.
        ValueError: see :func:`check_outputs` and :func:`build`.
    """
    category_set = get_categories(categories)
    check_outputs(paths, category_set, out_dir)
    for path in paths:
        build(path, category_set, out_dir)
