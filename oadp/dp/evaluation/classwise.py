"""Metrics of each category, computed from the same curves as the metrics over all categories."""

__all__ = ['class_figures', 'classwise_csv', 'classwise_table']

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.table

from oadp.dp.evaluation.ground_truth import GroundTruth
from oadp.dp.evaluation.metrics import Curves

_FREQUENCY_NAMES = {'r': 'rare', 'c': 'common', 'f': 'frequent'}
_FIGURES = ('AP', 'AP50', 'AR')


def class_figures(ground_truth: GroundTruth, curves: Curves) -> list[dict[str, Any]]:
    """Return the metrics of each category, as one row per category by label.

    Args:
        ground_truth: the objects that the detections were matched with.
        curves: of all categories, at the limits of the protocol.

    Returns:
        Rows of ``category``, ``group`` (base or novel; on LVIS rare, common or frequent), ``AP``,
        ``AP50``, ``AR`` (fractions in [0, 1], or −1 without ground truth) and ``instances`` (the
        number of objects, without crowds).
    """
    objects, categories = ground_truth.objects, ground_truth.categories
    counts = np.bincount(objects.labels[~objects.crowd], minlength=categories.num_all)
    rows = []
    for label, name in enumerate(categories.all_):
        group = 'base' if label < categories.num_bases else 'novel'
        frequency = ground_truth.frequencies[label]
        if ground_truth.federated and frequency in _FREQUENCY_NAMES:
            group = _FREQUENCY_NAMES[frequency]
        rows.append(
            dict(
                category=name,
                group=group,
                AP=curves.average_precision([label], None, 'all', 0),
                AP50=curves.average_precision([label], 0.5, 'all', -1),
                AR=curves.average_recall([label], None, 'all', -1),
                instances=int(counts[label]),
            )
        )
    return rows


def classwise_table(rows: Sequence[Mapping[str, Any]], metric: str) -> rich.table.Table:
    """Return the rows of :func:`class_figures` as a table in percent, novel and rare ones first."""
    order = ('novel', 'rare', 'base', 'common', 'frequent')
    table = rich.table.Table(title=f'{metric}, by category (%)')
    for column in ('category', 'group', *_FIGURES, 'instances'):
        table.add_column(column, justify='left' if column in ('category', 'group') else 'right')
    for row in sorted(rows, key=lambda row: order.index(row['group'])):
        figures = ('–' if row[k] < 0 else f'{100 * row[k]:.1f}' for k in _FIGURES)
        table.add_row(row['category'], row['group'], *figures, f'{row["instances"]:,}')
    return table


def classwise_csv(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the rows of :func:`class_figures`, by metric, as CSV with a header.

    Undefined values are empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('metric', 'category', 'group', *_FIGURES, 'instances'))
    for metric, of_metric in rows.items():
        for row in of_metric:
            figures = ('' if row[k] < 0 else f'{row[k]:.6f}' for k in _FIGURES)
            writer.writerow((metric, row['category'], row['group'], *figures, row['instances']))
    return text.getvalue()
