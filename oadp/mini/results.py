"""Collect the metrics of the benchmark's detectors and format them as a table."""

__all__ = ['METRICS', 'SETTINGS', 'collect', 'tabulate']

import json
import pathlib
from collections.abc import Mapping

from rich.table import Table

from oadp.utils.files import atomic_write

SETTINGS = {'none': 'no distillation', 'vild': 'ViLD (objects)', 'oadp': 'OADP (+ blocks, image)'}
"""Configs under ``configs/mini/`` and their names in the table."""

METRICS = {
    'novel_AP50': 'COCO_9_bbox_mAP_50',
    'base_AP50': 'COCO_18_bbox_mAP_50',
    'all_AP50': 'COCO_18_9_bbox_mAP_50',
}
"""Metrics by their key in ``results.json``: their names in the output of ``oadp.dp.test``."""


def collect(
    root: pathlib.Path, work: pathlib.Path, seeds: range | list[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """Collect the metrics of all runs and write them to ``results.json``.

    Args:
        root: working directory of the pipeline.
        work: folder of the results, relative to ``root``; holds
            ``metrics/seed{seed}_{setting}.json``.
        seeds: of the detectors.

    Returns:
        Metrics in percent, by setting, seed and key of ``METRICS``.
    """
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in SETTINGS}
    for name in SETTINGS:
        for seed in seeds:
            path = root / work / f'metrics/seed{seed}_{name}.json'
            metrics = json.loads(path.read_text(encoding='utf-8'))
            results[name][str(seed)] = {k: 100 * metrics[v] for k, v in METRICS.items()}
    with atomic_write(root / work / 'results.json') as temporary:
        temporary.write_text(json.dumps(results, indent=2), encoding='utf-8')
    return results


def tabulate(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Format results as a table: the mean over the seeds and, if there are several, their range.

    Args:
        results: as returned by ``collect``.
    """
    count = len(next(iter(results.values())))
    table = Table(title=f'AP50, percent; {count} seed{"s" * (count > 1)}')
    table.add_column('')
    for key in METRICS:
        table.add_column(key.removesuffix('_AP50'), justify='right')
    for name, by_seed in results.items():
        cells = []
        for key in METRICS:
            values = [metrics[key] for metrics in by_seed.values()]
            spread = f' ({min(values):.1f}–{max(values):.1f})' if count > 1 else ''
            cells.append(f'{sum(values) / count:.1f}{spread}')
        table.add_row(SETTINGS[name], *cells)
    return table
