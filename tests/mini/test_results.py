"""The benchmark's table."""

import io
import json
import pathlib

import pytest
from rich.console import Console

from oadp.mini.results import METRICS, SETTINGS, WORK, collect, compare, metrics_file, tabulate


def test_results_are_in_percent_and_the_table_shows_mean_and_range(tmp_path: pathlib.Path) -> None:
    for name in SETTINGS:
        for seed, value in ((0, 0.25), (1, 0.5)):
            path = tmp_path / metrics_file(seed, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict.fromkeys(METRICS.values(), value)))
    results = collect(tmp_path, range(2), list(SETTINGS))
    assert results['vild']['1'] == dict(novel_AP50=50.0, base_AP50=50.0, all_AP50=50.0)
    assert json.loads((tmp_path / WORK / 'results.json').read_text()) == results
    console = Console(file=io.StringIO(), width=120)
    console.print(tabulate(results))
    assert console.file.getvalue().count('37.5 (25.0–50.0)') == 3 * len(SETTINGS)


def test_the_difference_to_vild_is_paired_by_seed() -> None:
    novel = dict(vild=[10, 50, 30], oadp=[13, 52, 31])
    results = {
        name: {str(seed): dict.fromkeys(METRICS, value) for seed, value in enumerate(values)}
        for name, values in novel.items()
    }
    mean, error = compare(results, 'vild', 'oadp', 'novel_AP50')
    assert mean == pytest.approx(2) and error == pytest.approx((1 / 3) ** 0.5)  # 3, 2, 1
    console = Console(file=io.StringIO(), width=140)
    console.print(tabulate(results))
    assert '+2.0 ± 0.6' in console.file.getvalue()
