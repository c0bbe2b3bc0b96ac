"""Judge one setting of the score fusion by a dump, and show the result.

What the evaluation of one setting (``test_nni``) and the search (``tools/nni_dp_test.py``) share.
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
    world: runtime.World | None = None,
) -> tuple[FusionSearch, GroundTruth]:
    """Open a dump for the data set of a config.

    Args:
        config: whole; its validation annotations are what detections are judged by.
        dump_dir: what ``DUMP`` was.
        images: see :func:`choose_images`.
        world: the processes of the run.

    Raises:
        FileNotFoundError: no dump, images without a record, or no annotations.
        ValueError: a dump of other categories.
    """
    if runtime.dry_run() and (dump_dir / 'dry_run').is_dir():
        dump_dir = dump_dir / 'dry_run'
    dump = Dump(dump_dir)
    categories = config_categories(config)
    if dump.meta.categories != categories:
        raise ValueError(
            f'{dump_dir}: a dump of {dump.meta.categories.num_all} categories, which are not those '
            f'of the config ({config["categories"]!r}, {categories.num_all}); give the config that it '
            'was made with'
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
    """One setting, as what is written of it.

    Args:
        search, ground_truth: of :func:`open_search`.
        parameters: the setting.
        objective: see :meth:`GroundTruth.metric`.
        report: called with the objective on the first part of the images, and on more of them.

    Returns:
        ``objective`` (its name), ``value``, ``parameters``, ``metrics`` and ``images`` (their
        number), on the first process; nothing on others.

    Raises:
        ValueError: an unknown objective, or one that nothing in the images can be judged by.
    """
    objective = ground_truth.metric(objective)
    metrics = search.evaluate(parameters, report=report and (objective, report), show_progress=True)
    if not metrics:
        return {}
    if metrics[objective] < 0:
        raise ValueError(f'{objective}: there is no object to judge it by in the chosen images')
    return dict(
        objective=objective,
        value=metrics[objective],
        parameters=parameters.to_dict(),
        metrics=metrics,
        images=len(ground_truth.image_ids),
    )


def print_result(result: dict[str, Any], categories: Categories) -> None:
    """As tables: the setting, and the metrics as ``oadp.dp.test`` prints them."""
    setting = Table('parameter', 'value', title='score fusion')
    for name, value in result['parameters'].items():
        setting.add_row(name, f'{value:.4f}')
    table = metrics_table(result['metrics'], categories, ['bbox'])
    table.caption = (
        f'{result["images"]} images; objective {result["objective"]} {100 * result["value"]:.2f}'
    )
    Console().print(setting, table)


def write_json(path: pathlib.Path, data: Any) -> None:
    """Atomically, with the folder."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')
