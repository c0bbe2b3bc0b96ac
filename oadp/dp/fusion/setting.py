"""Evaluate one setting of the score fusion on a dump, and show the result.

The evaluation of one setting (``test_nni``) and the search (``tools/nni_dp_test.py``) share this code.
"""

__all__ = ['evaluate_setting', 'open_search', 'print_result', 'write_json']

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from oadp.categories import Categories, config_categories
from oadp.dp.evaluation import GroundTruth
from oadp.dp.evaluation.outputs import metrics_table
from oadp.dp.fusion.records import Dump
from oadp.dp.fusion.scores import FusionParameters
from oadp.dp.fusion.trial import FusionSearch, choose_images
from oadp.utils import runtime
from oadp.utils.files import atomic_write

_DRY_RUN_IMAGES = 5


def open_search(
    config: Mapping[str, Any],
    dump_dir: pathlib.Path,
    images: str | None = None,
    world: runtime.ProcessInfo | None = None,
) -> tuple[FusionSearch, GroundTruth]:
    """Open a dump for the dataset of a config.

    Args:
        config: the whole config, whose validation annotations are the ground truth.
        dump_dir: the folder that ``DUMP`` was set to.
        images: see :func:`choose_images`.
        world: this process among the others.

    Raises:
        FileNotFoundError: the dump, records of some images, or the annotations are missing.
        ValueError: the dump has other categories.
    """
    if runtime.dry_run() and (dump_dir / 'dry_run').is_dir():
        dump_dir = dump_dir / 'dry_run'
    dump = Dump(dump_dir)
    categories = config_categories(config)
    if dump.meta.categories != categories:
        raise ValueError(
            f'{dump_dir}: a dump of {dump.meta.categories.num_all} categories, which are not those '
            f'of the config ({config["categories"]!r}, {categories.num_all}); use the config that '
            'the dump was created with'
        )
    ground_truth = GroundTruth.from_config(config)
    chosen = choose_images(images, ground_truth.image_ids)
    if runtime.dry_run():
        present = set(dump.image_ids())
        chosen = [i for i in chosen if i in present][:_DRY_RUN_IMAGES]
    if len(chosen) < len(ground_truth.image_ids):
        ground_truth = GroundTruth.from_config(config, chosen)
    return FusionSearch(dump, ground_truth, world), ground_truth


def evaluate_setting(
    search: FusionSearch,
    ground_truth: GroundTruth,
    parameters: FusionParameters,
    objective: str | None = None,
    report: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Evaluate one setting, and return the result to write.

    Args:
        search: of :func:`open_search`.
        ground_truth: of :func:`open_search`.
        parameters: the setting to evaluate.
        objective: see :meth:`GroundTruth.metric`.
        report: called with the objective on the first quarter and the first half of the images.

    Returns:
        ``objective`` (its name), ``value``, ``parameters``, ``metrics`` and ``images`` (their
        number) on the first process; an empty dictionary on the others.

    Raises:
        ValueError: unknown objective, or no object in the images to compute it from.
    """
    objective = ground_truth.metric(objective)
    metrics = search.evaluate(parameters, report=report and (objective, report), show_progress=True)
    if not metrics:
        return {}
    if metrics[objective] < 0:
        raise ValueError(
            f'{objective}: the selected images have no object to compute it from; select more images'
        )
    return dict(
        objective=objective,
        value=metrics[objective],
        parameters=parameters.to_dict(),
        metrics=metrics,
        images=len(ground_truth.image_ids),
    )


def print_result(result: dict[str, Any], categories: Categories) -> None:
    """Print the setting and the metrics as tables, as in ``oadp.dp.test``."""
    setting = Table('parameter', 'value', title='score fusion')
    for name, value in result['parameters'].items():
        setting.add_row(name, f'{value:.4f}')
    table = metrics_table(result['metrics'], categories, ['bbox'])
    table.caption = (
        f'{result["images"]} images; objective {result["objective"]} {100 * result["value"]:.2f}'
    )
    Console().print(setting, table)


def write_json(path: pathlib.Path, data: Any) -> None:
    """Write a JSON file atomically, and create its folder."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')
