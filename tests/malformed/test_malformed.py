"""Commands on malformed inputs of all kinds: each gives the expected error, or the right outputs."""

import pathlib

import pytest
from malformed.run import CASES, run_all, summary


def test_ids_are_distinct_and_there_are_enough() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 200


@pytest.mark.slow
@pytest.mark.long  # runs more than 600 commands: minutes
def test_no_traceback_no_silent_loss_nothing_unsafe(tmp_path: pathlib.Path) -> None:
    failed = run_all(tmp_path)
    line = summary(len(CASES), failed)
    print(line)
    assert line == f'{len(CASES)} inputs: 0 tracebacks, 0 silent losses, 0 unsafe', failed
