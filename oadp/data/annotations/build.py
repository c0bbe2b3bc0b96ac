"""Open-vocabulary splits of COCO-format annotations.

Category ids are renumbered to labels: bases first, then novels, from 0. ``STEM.48.json`` (the number
of bases) holds the annotations of the base classes alone, ``STEM.65.json`` (of all classes) those of
all, ``STEM.65.min.json`` all of them and only the images that have one. Each lists all categories.

Nearly all of an annotation file is polygons, which stay as they are, so the text of an annotation is
copied and only its category id replaced (see ``annotation_file``).
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
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_file

DATASETS = {
    'coco': ('coco/annotations', {'instances_train2017': False, 'instances_val2017': True}),
    'lvis': ('lvis_v1/annotations', {'lvis_v1_train': False, 'lvis_v1_val': False}),
}
"""Category set to folder under the data root, and to the stems of its files: whether also ``.min``."""

_NEEDS = ('annotations', 'any_name', 'box', 'size')
_NOT_IN_SET = -1  # label of a category that the set leaves out
_CATEGORY_ID = re.compile(r'"category_id"\s*:\s*\d+')
_LABEL_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')  # of LVIS's images


def build(
    path: str | os.PathLike,
    categories: Categories,
    out_dir: str | os.PathLike | None = None,
    with_min: bool = True,
) -> list[pathlib.Path]:
    """Write the splits of an annotation file. Each file is written whole or not at all.

    Args:
        path: a COCO-format (or LVIS-format) file whose categories include all of the set's.
        categories: the category set.
        out_dir: where to write; by default beside the source.
        with_min: whether to write the split without the images that have no annotation.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a category of the set is not in it; all faults are listed.
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
    """The files to be written of a source: how many labels, and whether only annotated images."""
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
    """Refuse, before anything is written, to write two sources to one file or over a source.

    Raises:
        ValueError: names the sources and the file, or says why a file cannot be written.
    """
    sources: dict[str, pathlib.Path] = {}
    for path in paths:
        for out in _splits(path, categories, out_dir):
            check_file('--out-dir', out, inputs=paths)
            # Some file systems do not tell capitals apart.
            other = sources.setdefault(os.path.realpath(out).casefold(), path)
            if other != path:
                raise ValueError(
                    f'{other} and {path} would both be written to {out}; nothing is written: '
                    'leave out --out-dir, or run the command for each with a folder of its own'
                )


def _labels(source: AnnotationFile, categories: Categories) -> dict[int, int]:
    """Category id of the file to label; every category of the file has an entry."""
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
    """Write a split; returns the numbers of images and annotations."""
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
    if count != 1:  # a nested object, or a string, holds the words too
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
    """Write the splits of COCO and LVIS, of those files that are there.

    Raises:
        FileNotFoundError: none is there.
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
            '%s is not there, so its splits are left out; see "Datasets" in the README', path
        )
    if not written:
        raise FileNotFoundError(
            f'none of the annotation files is there: {", ".join(map(str, missing))}; '
            'download them as the README says under "Datasets", or name the folder by --data-root'
        )


def build_files(
    paths: Sequence[pathlib.Path], categories: str, out_dir: pathlib.Path | None
) -> None:
    """Write the splits of some annotation files.

    Args:
        paths: the files.
        categories: name or JSON file of their category set.
        out_dir: where to write; beside each file by default.

    Raises:
        FileNotFoundError: one of the files does not exist.
        ValueError: see :func:`check_outputs` and :func:`build`.
    """
    category_set = get_categories(categories)
    check_outputs(paths, category_set, out_dir)
    for path in paths:
        build(path, category_set, out_dir)
