"""The benchmark's table."""

import io
import json
import pathlib

from rich.console import Console

from oadp.mini.results import METRICS, SETTINGS, collect, tabulate

WORK = pathlib.Path('work')


def test_results_are_in_percent_and_the_table_shows_mean_and_range(tmp_path: pathlib.Path) -> None:
    (tmp_path / WORK / 'metrics').mkdir(parents=True)
    for name in SETTINGS:
        for seed, value in ((0, 0.25), (1, 0.5)):
            path = tmp_path / WORK / f'metrics/seed{seed}_{name}.json'
            path.write_text(json.dumps(dict.fromkeys(METRICS.values(), value)))
    results = collect(tmp_path, WORK, range(2))
    assert results['vild']['1'] == dict(novel_AP50=50.0, base_AP50=50.0, all_AP50=50.0)
    assert json.loads((tmp_path / WORK / 'results.json').read_text()) == results
    console = Console(file=io.StringIO(), width=120)
    console.print(tabulate(results))
    assert console.file.getvalue().count('37.5 (25.0–50.0)') == 3 * len(SETTINGS)
