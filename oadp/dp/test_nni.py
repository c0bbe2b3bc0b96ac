"""Evaluate one setting of the score fusion on a dump.

    (python|torchrun --nproc_per_node=N) -m oadp.dp.test_nni NAME CONFIG DUMP_DIR
        [--parameters FILE|JSON] [--objective METRIC] [--images train|val|FILE]

Needs the folder that DUMP=DUMP_DIR python -m oadp.dp.test CONFIG CHECKPOINT wrote, and the config's
validation annotations. Prints the metrics as a table and writes them to work_dirs/NAME/fusion.json,
which python -m oadp.dp.test --fusion accepts. As a trial of an NNI experiment (tools/nni_dp_test.py)
it takes the setting from NNI, reports the objective, and writes work_dirs/NAME/TRIAL.json.
"""

__all__ = ['evaluate_setting', 'main', 'open_search']

import argparse
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import torch.distributed as dist
from rich.console import Console
from rich.table import Table

from .. import runtime
from ..atomic import atomic_write
from ..categories import Categories, get_categories
from ..config import add_config_arguments, load_config
from .dump import Dump
from .evaluation import GroundTruth
from .fusion import FusionParameters
from .search import FusionSearch, choose_images
from .testing import metrics_table

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
    categories = get_categories(config['categories'])
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


def _parameters(text: str | None, trial: str | None, world: runtime.World) -> FusionParameters:
    if text is not None:
        return FusionParameters.from_text(text)
    if trial is None:
        return FusionParameters()
    # Each call takes another setting from the tuner: one process asks, for all.
    box: list[Any] = [_nni().get_next_parameter() if world.is_main else None]
    if world.is_distributed:
        dist.broadcast_object_list(box)
    return FusionParameters.from_mapping(box[0])


def _nni() -> Any:
    import nni  # optional, and seconds to import

    return nni


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


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that a single evaluation and the whole search share."""
    parser.add_argument(
        '--objective',
        metavar='METRIC',
        help='what counts: a metric of the table, or novel_AP50, base_AP50, all_AP50, APr, …; '
        'default: what the paper reports (novel AP50, or APr for LVIS)',
    )
    parser.add_argument(
        '--images',
        metavar='train|val|FILE',
        help='only one of two fixed halves of the images, or those whose ids are in FILE; so '
        'that a setting can be found on some images and judged on others',
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m oadp.dp.test_nni',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', help='outputs go to work_dirs/NAME')
    add_config_arguments(parser)
    parser.add_argument('dump', type=pathlib.Path, help='the folder that DUMP named')
    parser.add_argument(
        '--parameters',
        metavar='FILE|JSON',
        help='the setting: {"bbox_base_gamma": 0.7, …}; what is left out is as in the paper. '
        "Default: NNI's in a trial, else the paper's",
    )
    add_search_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = load_config(args.config, args.override)
    work_dir = pathlib.Path('work_dirs', *(['dry_run'] if runtime.dry_run() else []), args.name)
    trial, logger = runtime.nni_trial(), runtime.get_logger()

    def report(value: float) -> None:
        logger.info('objective so far: %.4f', value)
        if trial is not None:
            _nni().report_intermediate_result(value)

    with runtime.launch() as world:
        parameters = _parameters(args.parameters, trial, world)
        search, ground_truth = open_search(config, args.dump, args.images, world)
        result = evaluate_setting(search, ground_truth, parameters, args.objective, report)
        if not world.is_main:
            return
        path = work_dir / f'{trial or "fusion"}.json'
        write_json(path, result)
        if trial is not None:
            _nni().report_final_result(result['value'])
        print_result(result, get_categories(config.categories))
        print(f'written to {path}')


if __name__ == '__main__':
    main()
