"""Run commands on malformed inputs of all kinds: ``PYTHONPATH=.:tests python -m malformed.run [WORD …]``.

Prints each input whose outcome is not the expected one, and a line with the number of tracebacks (an
error that only a programmer can read), silent losses (no error, an error about another cause, or wrong
outputs) and unsafe runs (crashes, hangs, too much memory, changed files, or code of a file that ran).
WORDs select the inputs whose id contains one of them.
"""

__all__ = ['CASES', 'run_all', 'summary']

import argparse
import collections
import pathlib
import tempfile
import time
from collections.abc import Sequence

import torch
from malformed import (
    annotation_cases,
    command_cases,
    data_cases,
    file_cases,
    image_cases,
    weight_cases,
)
from malformed.harness import Case, run_case
from malformed.valid_inputs import make_valid_inputs

CASES: list[Case] = [
    *annotation_cases.CASES,
    *image_cases.CASES,
    *weight_cases.CASES,
    *file_cases.CASES,
    *data_cases.CASES,
    *command_cases.CASES,
]
KINDS = {'traceback': 'tracebacks', 'silent loss': 'silent losses', 'unsafe': 'unsafe'}


def run_all(root: pathlib.Path, cases: Sequence[Case] = CASES) -> dict[str, tuple[str, str]]:
    """Run cases below a folder; returns those that failed: the kind of failure and why, by id."""
    torch.set_num_threads(1)  # a forked process has no other thread
    valid = root / 'valid'
    valid.mkdir()
    make_valid_inputs(valid)
    _import_commands()
    failed = {}
    for case in cases:
        (root / 'case').mkdir()
        start = time.monotonic()
        fault = run_case(case, valid, root / 'case')
        if fault is not None:
            failed[case.id] = fault
        seconds = time.monotonic() - start
        if fault is not None or seconds > 5:
            print(f'{case.id} ({seconds:.1f} s): {fault or "as expected"}', flush=True)
    return failed


def _import_commands() -> None:
    import oadp.analyze
    import oadp.check_annotations
    import oadp.detect
    import oadp.dp.engine.run
    import oadp.dp.evaluation.analysis
    import oadp.dp.evaluation.outputs
    import oadp.dp.evaluation.probe
    import oadp.dp.fusion.setting
    import oadp.inference.torch_detector
    import oadp.oake.blocks
    import oadp.oake.globals
    import oadp.oake.objects
    import oadp.oake.run
    import oadp.prompts.multi_label_training  # noqa: F401


def summary(num: int, failed: dict[str, tuple[str, str]]) -> str:
    """Return the line of counts."""
    counts = collections.Counter(kind for kind, _ in failed.values())
    return f'{num} inputs: ' + ', '.join(f'{counts[k]} {name}' for k, name in KINDS.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('words', nargs='*', help='run the inputs whose id contains one of them')
    words = parser.parse_args().words or ['']
    cases = [case for case in CASES if any(word in case.id for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        failed = run_all(pathlib.Path(folder), cases)
    print(summary(len(cases), failed))
    return 1 if failed else 0


if __name__ == '__main__':
    raise SystemExit(main())
