"""Show an analysis as tables on the terminal and as a figure."""

__all__ = ['draw_figure', 'tables']

import pathlib
from collections.abc import Iterator
from typing import Any

import rich.table

from oadp.dp.evaluation.analysis import RECALL_LIMITS, Analysis
from oadp.dp.evaluation.outcomes import OUTCOMES
from oadp.dp.evaluation.tide import ERRORS

_GROUPS = ('novel', 'base')
_COLORS = dict(novel='#e8590c', base='#1971c2')
_OUTCOME_COLORS = ('#495057', '#1971c2', '#f08c00', '#9c36b5', '#adb5bd', '#fcc419', '#2f9e44')
_SHOWN_CONFUSIONS = 10


def tables(analysis: Analysis, confusions: int = _SHOWN_CONFUSIONS) -> Iterator[rich.table.Table]:
    """Yield the analysis as tables, each with a row for novel and a row for base classes.

    Args:
        analysis: the analysis to show.
        confusions: the number of confusions to list for each group.
    """
    yield _outcomes(analysis)
    yield _called(analysis)
    yield _confusions(analysis, confusions)
    yield _costs(analysis)
    yield _further(analysis)


def _table(title: str, *columns: str, text: int = 1) -> rich.table.Table:
    table = rich.table.Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify='left' if i < text else 'right')
    return table


def _share(count: int, total: int) -> str:
    return f'{count:,} ({100 * count / total:.1f} %)' if total else '–'


def _percent(value: float) -> str:
    return '–' if value < 0 else f'{100 * value:.1f}'


def _outcomes(analysis: Analysis) -> rich.table.Table:
    table = _table('outcomes of the objects (IoU 0.5)', '', 'objects', *OUTCOMES)
    for group in _GROUPS:
        total, counts = analysis.objects[group], analysis.outcomes[group]
        cells = [_share(counts[name], total) for name in OUTCOMES]
        if not analysis.has_proposals:
            cells[0] = '?'
        table.add_row(group, f'{total:,}', *cells)
    if not analysis.has_proposals:
        table.caption = '?: give --proposals or --dump'
    return table


def _called(analysis: Analysis) -> rich.table.Table:
    table = _table(
        'classes that covered objects are detected as', '', 'covered', 'called base', 'called another novel', 'right'
    )  # fmt: skip
    for group in _GROUPS:
        called = analysis.called[group]
        total = sum(called)
        table.add_row(group, f'{total:,}', *(_share(count, total) for count in called))
    return table


def _confusions(analysis: Analysis, number: int) -> rich.table.Table:
    table = _table(
        'confusions with the highest weight',
        '',
        'class',
        'called',
        'objects',
        'recall (points)',
        text=3,
    )
    for group in _GROUPS:
        chosen = [c for c in analysis.confusions if c.is_novel == (group == 'novel')]
        for c in chosen[:number]:
            table.add_row(group, c.true, c.called, f'{c.objects:,}', f'{100 * c.weight:.2f}')
    return table


def _costs(analysis: Analysis) -> rich.table.Table:
    table = _table('AP50 and the cost of each type of error (points)', '', 'AP50', *ERRORS)
    for group in _GROUPS:
        costs = analysis.costs[group]
        table.add_row(group, *(_percent(costs[name]) for name in ('AP50', *ERRORS)))
    return table


def _further(analysis: Analysis) -> rich.table.Table:
    columns = [*(f'R@{k}' for k in RECALL_LIMITS), 'APs', 'APm', 'APl', 'ECE']
    table = _table('recall (IoU 0.5), AP by size, calibration error (%)', '', *columns)
    for group in _GROUPS:
        values = [*analysis.recall[group].values(), *analysis.sizes[group].values()]
        table.add_row(group, *map(_percent, [*values, analysis.calibration[group]['ece']]))
    return table


def draw_figure(
    analysis: Analysis, path: pathlib.Path, format_: str, confusions: int = _SHOWN_CONFUSIONS
) -> None:
    """Draw the analysis with matplotlib.

    Args:
        analysis: the analysis to draw.
        path: the file to write.
        format_: ``png``, ``pdf`` or ``svg``.
        confusions: the number of confusions of novel classes to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 9), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    _draw_outcomes(axes[0, 0], analysis)
    _draw_confusions(axes[0, 1], analysis, confusions)
    _draw_bars(axes[0, 2], 'cost of each type of error (points of AP50)',
               {g: {e: analysis.costs[g][e] for e in ERRORS} for g in _GROUPS})  # fmt: skip
    _draw_bars(axes[1, 0], 'recall (%, IoU 0.5) by number of detections', analysis.recall)
    _draw_bars(axes[1, 1], 'AP by size (%)', analysis.sizes)
    _draw_calibration(axes[1, 2], analysis)
    figure.savefig(path, dpi=100, format=format_)


def _draw_outcomes(axes: Any, analysis: Analysis) -> None:
    left = dict.fromkeys(_GROUPS, 0.0)
    for outcome, color in zip(OUTCOMES, _OUTCOME_COLORS, strict=True):
        shares = {
            g: 100 * analysis.outcomes[g][outcome] / max(1, analysis.objects[g]) for g in _GROUPS
        }
        axes.barh(
            _GROUPS, list(shares.values()), left=list(left.values()), color=color, label=outcome
        )
        left = {g: left[g] + shares[g] for g in _GROUPS}
    axes.invert_yaxis()
    axes.set(title='outcomes of the objects (%)', xlim=(0, 100))
    _draw_legend(axes, columns=4)


def _draw_confusions(axes: Any, analysis: Analysis, number: int) -> None:
    chosen = [c for c in analysis.confusions if c.is_novel][:number]
    names = [f'{c.true} → {c.called} ({c.objects})' for c in chosen]
    axes.barh(names, [100 * c.weight for c in chosen], color=_COLORS['novel'])
    axes.invert_yaxis()
    axes.set(title='confusions of novel classes (points of recall)')


def _draw_bars(axes: Any, title: str, values: dict[str, dict[Any, float]]) -> None:
    for i, group in enumerate(_GROUPS):
        heights = [max(0.0, 100 * v) for v in values[group].values()]
        positions = [x + 0.4 * (i - 0.5) for x in range(len(heights))]
        axes.bar(positions, heights, 0.4, color=_COLORS[group], label=group)
    names = [str(name) for name in values['novel']]
    axes.set_xticks(range(len(names)), names)
    axes.set(title=title)
    _draw_legend(axes, columns=2)


def _draw_calibration(axes: Any, analysis: Analysis) -> None:
    axes.plot([0, 1], [0, 1], color='#adb5bd', linestyle='dashed')
    for group in _GROUPS:
        calibration = analysis.calibration[group]
        bins = [b for b in calibration['bins'] if b['count']]
        label = f'{group}: expected calibration error {calibration["ece"]:.3f}'
        axes.plot(
            [b['score'] for b in bins], [b['precision'] for b in bins],
            color=_COLORS[group], marker='o', label=label,
        )  # fmt: skip
    axes.set(title='calibration', xlabel='score', ylabel='precision (IoU 0.5)')
    axes.set(xlim=(0, 1), ylim=(0, 1))
    _draw_legend(axes, columns=1, offset=0.13)


def _draw_legend(axes: Any, columns: int, offset: float = 0.08) -> None:
    """Draw the legend below the axes, where it hides no data."""
    axes.legend(ncols=columns, loc='upper center', bbox_to_anchor=(0.5, -offset), fontsize='small')
