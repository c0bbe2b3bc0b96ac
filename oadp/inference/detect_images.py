"""Detect in images and write the drawings and the detections.

The detections of all images are written to one file, ``detections.json``, in the format of COCO's
results, with two more keys: the names of the class and of the image.
"""

from __future__ import annotations

__all__ = ['coco_results', 'detect_all', 'detect_images', 'image_ids']

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.output_names import check_apart, check_folder, output_stems
from oadp.utils.progress import Progress

if TYPE_CHECKING:
    import supervision

    from oadp.inference.detector import Detector

DRY_RUN_IMAGES = 2
RESULTS = 'detections.json'

_logger = runtime.get_logger()


def detect_images(
    load: Callable[[], Detector],
    images: Sequence[str],
    folder: pathlib.Path,
    *,
    words: str | None = None,
    words_file: pathlib.Path | None = None,
    score_threshold: float = 0.3,
    max_detections: int = 100,
) -> list[str]:
    """Detect in files, folders and patterns of images.

    With ``DRY_RUN``, a few images are taken and the output is written to its own folder.

    Args:
        load: load the detector; called after the images and the output folder are checked.
        images: file names, folders or patterns.
        folder: where to write; created if it does not exist.
        words: names to detect, as one text; the classes of the config if neither is given.
        words_file: file with one name per line, in place of ``words``.
        score_threshold: keep detections that score higher.
        max_detections: maximum number of detections of an image.

    Returns:
        The errors, one sentence per image that is missing from the output.

    Raises:
        ValueError: the folder cannot be written or holds the images, or no valid names are given.
        FileNotFoundError: the names' file, or a file of the detector, does not exist.
    """
    from oadp.data.images import find_images

    paths, faults = find_images(images)
    for fault in faults:
        _logger.error('%s', fault)
    if runtime.dry_run():
        paths, folder = paths[:DRY_RUN_IMAGES], runtime.work_dir('detect')
    if paths:
        _check_folder(folder, paths)
        names = _names(words, words_file)
        detector = load()
        detector.set_vocabulary(names)
        faults += detect_all(
            detector, paths, folder, score_threshold, max_detections, names is not None
        )
    if faults:
        _logger.error('%d inputs failed: %s', len(faults), '; '.join(faults))
    return faults


def _names(words: str | None, words_file: pathlib.Path | None) -> list[str] | None:
    from oadp.inference.vocabulary import parse_names, read_names

    if words_file is not None:
        return read_names(words_file)
    return None if words is None else parse_names(words)


def _check_folder(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> None:
    check_folder('--output', folder)
    check_apart('--output', [folder / RESULTS], paths)


def coco_results(
    detections: supervision.Detections, image_id: int, file_name: str
) -> list[dict[str, Any]]:
    """Convert detections to COCO's results, which ``pycocotools`` loads.

    Args:
        detections: detections of an image.
        image_id: id of the image.
        file_name: file of the image.

    Returns:
        One dict per detection: ``image_id``, ``category_id`` (the index of the name in the vocabulary),
        ``bbox`` (x, y, width, height in pixels), ``score``, ``segmentation`` (run lengths) if there are
        masks, ``category_name`` and ``file_name``.
    """
    import numpy as np
    from pycocotools import mask as coco_mask

    assert detections.class_id is not None and detections.confidence is not None
    results = []
    for i in range(len(detections)):
        x1, y1, x2, y2 = (round(float(v), 2) for v in detections.xyxy[i])
        result = {
            'image_id': image_id,
            'category_id': int(detections.class_id[i]),
            'bbox': [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            'score': round(float(detections.confidence[i]), 5),
            'category_name': str(detections.data['class_name'][i]),
            'file_name': file_name,
        }
        if detections.mask is not None:
            run_lengths = coco_mask.encode(np.asfortranarray(detections.mask[i], dtype=np.uint8))
            size, counts = run_lengths['size'], run_lengths['counts'].decode()
            result['segmentation'] = {'size': list(size), 'counts': counts}
        results.append(result)
    return results


def image_ids(paths: Sequence[pathlib.Path]) -> list[int]:
    """Return the numbers in the file names, such as ``000000000139.jpg``; else 0, 1, 2, …."""
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems):
        ids = [int(stem) for stem in stems]
        if len(set(ids)) == len(ids):
            return ids
    return list(range(len(paths)))


def detect_all(
    detector: Detector,
    paths: Sequence[pathlib.Path],
    folder: pathlib.Path,
    score_threshold: float,
    max_detections: int,
    by_class: bool,
) -> list[str]:
    """Detect in images, write the drawings and ``detections.json``.

    An error of one image is logged, and the others are still processed.

    Args:
        detector: a detector with the vocabulary.
        paths: the images.
        folder: where to write; created if it does not exist.
        score_threshold: see ``Detector``.
        max_detections: see ``Detector``.
        by_class: use one color per class, in place of one for base and one for novel classes.

    Returns:
        The errors, one sentence per image.
    """
    from oadp.data.drawing import draw, save_drawing
    from oadp.data.images import read_image

    folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    faults: list[str] = []
    jobs = zip(paths, image_ids(paths), output_stems([p.name for p in paths]), strict=True)
    with Progress(len(paths), 'detect', 'images') as progress:
        for path, image_id, stem in jobs:
            try:
                image = read_image(path)
                detections = detector(image, score_threshold, max_detections)
                if by_class:
                    detections.data.pop('is_base')
                results += coco_results(detections, image_id, os.fspath(path))
                save_drawing(folder / stem, draw(image, detections))
            except Exception as e:  # an error of one image must not stop the others
                faults.append(_log_fault(path, e))
            progress.update()
    _write_json(folder / RESULTS, results)
    _logger.info(
        '%d detections in %d images: %s',
        len(results),
        len(paths) - len(faults),
        folder / RESULTS,
    )
    return faults


def _log_fault(path: pathlib.Path, error: Exception) -> str:
    """Log the error of an image, and return it as a sentence."""
    from oadp.utils.memory import is_out_of_memory

    if is_out_of_memory(error):
        cause = 'out of memory for this image; try another --device, or a smaller image'
    elif isinstance(error, (OSError, ValueError)):
        cause = str(error)
    else:
        cause = repr(error)
        _logger.debug('%s', path, exc_info=error)
    fault = cause if str(path) in cause else f'{path}: {cause}'
    _logger.error('%s', fault)
    return fault


def _write_json(path: pathlib.Path, results: Iterable[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(list(results)), encoding='utf-8')
