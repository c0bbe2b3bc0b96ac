"""Analyze a results file: print the tables and write the figure."""

from __future__ import annotations

__all__ = ['analyze_files', 'load_regions']

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from oadp.data.proposals import load_proposals
from oadp.dp.evaluation.analysis import analyze
from oadp.dp.evaluation.files import read_results
from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.report import draw_figure, tables
from oadp.dp.fusion.records import Dump
from oadp.utils import runtime
from oadp.utils.files import atomic_write

DRY_RUN_IMAGES = 4  # as many as oadp.dp.test has results of

_MIN_WIDTH = 140  # columns of the tables where the output is a file or a pipe


def load_regions(
    truth: GroundTruth,
    proposals: pathlib.Path | None = None,
    dump: pathlib.Path | None = None,
    *,
    file_order: bool = False,
) -> Mapping[int, np.ndarray] | None:
    """Read the regions that the detector classified.

    Args:
        truth: the ground truth of the images.
        proposals: file of proposals; see :func:`~oadp.data.proposals.load_proposals`.
        dump: folder of the score fusion's records, in place of ``proposals``.
        file_order: whether the proposals follow the order of the annotation file, in place of
            ascending image ids.

    Returns:
        (n, 4 or 5) boxes by image id, or None if neither source is given.

    Raises:
        FileNotFoundError: the file or folder does not exist.
        ValueError: the file has another format or belongs to other images.
    """
    if proposals is not None:
        sizes = truth.sizes_wh()
        ids = truth.images_in_file_order
        loaded = load_proposals(proposals, ids, [sizes[i] for i in ids], not file_order)
        for image_id, boxes in loaded.items():
            if not np.isfinite(boxes).all():
                raise ValueError(f'{proposals}: NaN or infinity in proposals of image {image_id}')
        return loaded
    if dump is not None:
        records = Dump(dump)
        return {i: records.read(i).boxes.numpy() for i in truth.image_ids}
    return None


def analyze_files(
    config: Mapping[str, Any],
    results: pathlib.Path,
    figure: pathlib.Path,
    num_confusions: int,
    *,
    proposals: pathlib.Path | None = None,
    dump: pathlib.Path | None = None,
    file_order: bool = False,
) -> None:
    """Print the tables of an analysis; write the figure and, beside it, all numbers as JSON.

    Args:
        config: a loaded config.
        results: what ``oadp.dp.test --out`` wrote.
        figure: the figure's file, ``.png``, ``.pdf`` or ``.svg``.
        num_confusions: number of confused pairs of classes to list.
        proposals: see :func:`load_regions`, as are the next two.
        dump: folder of the score fusion's records.
        file_order: order of the proposals.
    """
    truth = GroundTruth.from_config(config)
    if runtime.dry_run():
        truth = GroundTruth.from_config(config, truth.images_in_file_order[:DRY_RUN_IMAGES])
    regions = load_regions(truth, proposals, dump, file_order=file_order)
    analysis = analyze(truth, read_results(results, truth), regions)
    console = Console(width=None if sys.stdout.isatty() else _MIN_WIDTH)
    console.print(*tables(analysis, num_confusions))
    numbers = figure.with_suffix('.json')
    with atomic_write(figure) as temporary:
        draw_figure(analysis, temporary, figure.suffix.lstrip('.'), num_confusions)
    with atomic_write(numbers) as temporary:
        temporary.write_text(json.dumps(analysis.to_json(), indent=1), encoding='utf-8')
    print(f'figure: {figure}\nfigures: {numbers}')
