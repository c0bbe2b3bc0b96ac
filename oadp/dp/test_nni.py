"""Evaluate one setting of the score fusion on a dump.

    (python|torchrun --nproc_per_node=N) -m oadp.dp.test_nni NAME CONFIG DUMP_DIR
        [--parameters FILE|JSON] [--objective METRIC] [--images train|val|FILE]

The dump is the folder that DUMP=DUMP_DIR python -m oadp.dp.test CONFIG CHECKPOINT writes; the
validation annotations of the config are needed, too. Prints the metrics as a table and writes them to
work_dirs/NAME/fusion.json, which python -m oadp.dp.test --fusion accepts. As a trial of an NNI
experiment (tools/nni_dp_test.py), it gets the setting from NNI, reports the objective, and writes
work_dirs/NAME/TRIAL.json.
"""

from __future__ import annotations

__all__ = ['main']

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from oadp.categories import get_categories
from oadp.dp import register
from oadp.utils import runtime
from oadp.utils.command import ArgumentParser, run
from oadp.utils.config import add_config_arguments, load_config
from oadp.utils.search_arguments import add_search_arguments

if TYPE_CHECKING:
    from oadp.dp.fusion.scores import FusionParameters


def _parameters(
    text: str | None, trial: str | None, world: runtime.ProcessInfo
) -> FusionParameters:
    from oadp.dp.fusion.scores import FusionParameters

    if text is not None:
        return FusionParameters.from_text(text)
    if trial is None:
        return FusionParameters()
    # Each call gets another setting from the tuner, so only one process calls it.
    box: list[Any] = [_nni().get_next_parameter() if world.is_main else None]
    if world.is_distributed:
        import torch.distributed as dist

        dist.broadcast_object_list(box)
    return FusionParameters.from_mapping(box[0])


def _nni() -> Any:
    import nni  # optional, and takes seconds to import

    return nni


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of the command."""
    parser = ArgumentParser(
        prog='python -m oadp.dp.test_nni',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', help='the outputs are written to work_dirs/NAME')
    add_config_arguments(parser)
    parser.add_argument('dump', type=pathlib.Path, help='the folder that DUMP was set to')
    parser.add_argument(
        '--parameters',
        metavar='FILE|JSON',
        help='the setting, such as {"bbox_base_gamma": 0.7}; missing parameters are those of the '
        'paper. Default: the setting from NNI in a trial, else that of the paper',
    )
    add_search_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    config = load_config(args.config, args.override)
    register()
    from oadp.dp.fusion.setting import (
        evaluate_setting,
        open_search,
        print_result,
        write_json,
    )

    work_dir = runtime.work_dir(args.name)
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
    run('oadp.dp.test_nni', main)
