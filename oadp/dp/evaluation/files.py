"""Detections in files: mmdet's pickle, and the JSON of COCO's results format."""

__all__ = ['read_results', 'write_results']

import json
import pathlib
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from oadp.compat import load_pickled_arrays
from oadp.dp.evaluation.detections import Detections
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.utils.files import atomic_write
from oadp.utils.json_text import read_json

_ADVICE = 'expected what python -m oadp.dp.test … --out FILE.pkl or --out FILE.json writes'


def write_results(
    path: pathlib.Path, results: Sequence[Any], truth: GroundTruth, image_ids: Sequence[int]
) -> None:
    """Write results of mmdet as a pickle or, if the path ends in ``.json``, in COCO's format.

    Args:
        path: the file to write.
        results: one per image.
        truth: the ground truth, whose category ids are written.
        image_ids: the ids of the images, in the order of ``results``.
    """
    with atomic_write(path) as temporary:
        if path.suffix != '.json':
            temporary.write_bytes(pickle.dumps(results))
            return
        has_masks = bool(results) and isinstance(results[0], tuple)
        detections = Detections.from_results(image_ids, results, masks=has_masks)
        temporary.write_text(json.dumps(_rows(detections, truth)), encoding='utf-8')


def _rows(detections: Detections, truth: GroundTruth) -> list[dict[str, Any]]:
    boxes = detections.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = (
        detections.image_ids.tolist(),
        [truth.category_ids[label] for label in detections.labels.tolist()],
        boxes.tolist(),
        detections.scores.astype(np.float64).tolist(),
    )
    keys = ('image_id', 'category_id', 'bbox', 'score')
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    if detections.masks is not None:
        for row, mask in zip(rows, detections.masks, strict=True):
            counts = mask['counts']
            text = counts.decode() if isinstance(counts, bytes) else counts
            row['segmentation'] = dict(size=list(mask['size']), counts=text)
    return rows


def read_results(path: pathlib.Path, truth: GroundTruth) -> Detections:
    """Read detections, without their masks.

    Args:
        path: a pickle of mmdet's results on all images of the ground truth, in the order of its
            file; or a file ending in ``.json`` in COCO's results format. Pickles are read without
            running code.
        truth: the ground truth of the images and categories of the results.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has another format, or results of other images or categories; the
            message states what was found.
    """
    if path.suffix == '.json':
        return _finite(path, _from_rows(path, truth))
    results = load_pickled_arrays(path)
    image_ids = truth.images_in_file_order
    if not isinstance(results, list) or len(results) != len(image_ids):
        found = f'{len(results)} results' if isinstance(results, list) else type(results).__name__
        raise ValueError(
            f'{path}: found {found} and {len(image_ids)} images in the annotations of the config; '
            f'{_ADVICE}, on all images (not in DRY_RUN)'
        )
    num_all = truth.categories.num_all
    for i, result in enumerate(results):
        boxes = result[0] if isinstance(result, tuple) else result
        shapes = (
            {getattr(b, 'shape', (0, 0))[1:] for b in boxes} if isinstance(boxes, list) else set()
        )
        if shapes != {(5,)} or len(boxes) != num_all:
            raise ValueError(
                f'{path}: result {i} is not a list of {num_all} arrays (n, 5), one per category of '
                f'the config; {_ADVICE}'
            )
    return _finite(path, Detections.from_results(image_ids, results))


def _finite(path: pathlib.Path, detections: Detections) -> Detections:
    faulty = ~(np.isfinite(detections.boxes).all(axis=1) & np.isfinite(detections.scores))
    if faulty.any():
        raise ValueError(
            f'{path}: NaN or infinity in {faulty.sum()} boxes or scores, such as of image '
            f'{detections.image_ids[faulty][0]}; evaluate a checkpoint whose weights are finite'
        )
    return detections


def _from_rows(path: pathlib.Path, truth: GroundTruth) -> Detections:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; {_ADVICE}')
    try:
        rows = read_json(path)
    except ValueError as e:
        raise ValueError(f'{e}; {_ADVICE}') from e
    if not isinstance(rows, list):
        raise ValueError(
            f'{path}: found a JSON {type(rows).__name__}, not a list of detections; {_ADVICE} '
            '(--out-json writes metrics, not detections)'
        )
    labels = {category_id: label for label, category_id in enumerate(truth.category_ids)}
    known = set(truth.image_ids)
    try:
        if any(len(row['bbox']) != 4 for row in rows):
            raise ValueError('a bbox that is not four numbers')
        image_ids = [row['image_id'] for row in rows]
        columns = (
            np.array(image_ids, np.int64),
            np.array([labels[row['category_id']] for row in rows], np.int64),
            np.array([row['bbox'] for row in rows], np.float64).reshape(-1, 4),
            np.array([row['score'] for row in rows], np.float64),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(
            f'{path}: a row lacks image_id, bbox [x, y, width, height] or score, or its '
            f'category_id is not in the annotations ({type(e).__name__}: {e}); {_ADVICE}'
        ) from e
    unknown = sorted(set(image_ids) - known)
    if unknown:
        raise ValueError(
            f'{path}: {len(unknown)} images are not in the annotations of the config, such as '
            f'{unknown[:3]}; {_ADVICE}'
        )
    columns[2][:, 2:] += columns[2][:, :2]
    return Detections(*columns)
