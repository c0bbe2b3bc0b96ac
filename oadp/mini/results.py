"""Collect the metrics of the benchmark's detectors and format them as a table."""

__all__ = [
    'ABLATIONS',
    'DEMO',
    'METRICS',
    'SETTINGS',
    'WORK',
    'collect',
    'compare',
    'metrics_file',
    'tabulate',
]

import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from rich.table import Table

from oadp.mini.classes import BASES, NOVELS
from oadp.utils.files import atomic_write

WORK = pathlib.Path('work_dirs/mini')

SETTINGS = {
    'none': 'no distillation',
    'vild': 'ViLD (objects)',
    'objects_blocks': '+ blocks',
    'objects_blocks_relations': '+ relations of blocks',
    'oadp': 'OADP (+ blocks, relations, image)',
}
"""Configs under ``configs/mini/`` and their names in the table."""

ABLATIONS = ('objects_blocks', 'objects_blocks_relations')
"""Those of the settings whose config is in ``configs/mini/ablations/``."""

DEMO = ('none', 'vild', 'oadp')
"""The settings that ``make demo`` trains."""

METRICS = {
    'novel_AP50': f'COCO_{len(NOVELS)}_bbox_mAP_50',
    'base_AP50': f'COCO_{len(BASES)}_bbox_mAP_50',
    'all_AP50': f'COCO_{len(BASES)}_{len(NOVELS)}_bbox_mAP_50',
}
"""Metrics by their key in ``results.json``: their names in the output of ``oadp.dp.test``."""

Results = Mapping[str, Mapping[str, Mapping[str, float]]]


def metrics_file(seed: int, name: str) -> pathlib.Path:
    """Return the file of the metrics of a detector, relative to the root of the benchmark."""
    return WORK / f'metrics/seed{seed}_{name}.json'


def collect(
    root: pathlib.Path, seeds: Sequence[int], settings: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Collect the metrics of all runs and write them to ``results.json``.

    Args:
        root: working directory of the pipeline.
        seeds: of the detectors.
        settings: keys of ``SETTINGS``.

    Returns:
        Metrics in percent, by setting, seed and key of ``METRICS``.
    """
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in settings}
    for name in settings:
        for seed in seeds:
            metrics = json.loads((root / metrics_file(seed, name)).read_text(encoding='utf-8'))
            results[name][str(seed)] = {k: 100 * metrics[v] for k, v in METRICS.items()}
    with atomic_write(root / WORK / 'results.json') as temporary:
        temporary.write_text(json.dumps(results, indent=2), encoding='utf-8')
    return results


def compare(results: Results, first: str, second: str, metric: str) -> tuple[float, float]:
    """Compare two settings by the differences between runs with the same seed.

    Args:
        results: as returned by ``collect``, with two seeds or more.
        first: a setting.
        second: another one.
        metric: a key of ``METRICS``.

    Returns:
        The mean of second − first over the seeds, and its standard error.
    """
    differences = [
        results[second][seed][metric] - results[first][seed][metric] for seed in results[first]
    ]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.mean(differences), error


def tabulate(results: Results) -> Table:
    """Format results as a table: means over the seeds and, if there are several, differences to ViLD.

    Args:
        results: as returned by ``collect``.
    """
    count = len(next(iter(results.values())))
    paired = count > 1 and 'vild' in results
    table = Table(title=f'AP50, percent; {count} seed{"s" * (count > 1)}')
    table.add_column('')
    for key in METRICS:
        table.add_column(key.removesuffix('_AP50'), justify='right')
    if paired:
        table.add_column('novel, less ViLD ± SE', justify='right')
    for name, by_seed in results.items():
        cells = []
        for key in METRICS:
            values = [metrics[key] for metrics in by_seed.values()]
            spread = f' ({min(values):.1f}–{max(values):.1f})' if count > 1 else ''
            cells.append(f'{statistics.mean(values):.1f}{spread}')
        if paired and name != 'vild':
            cells.append('{:+.1f} ± {:.1f}'.format(*compare(results, 'vild', name, 'novel_AP50')))
        table.add_row(SETTINGS[name], *cells)
    return table
