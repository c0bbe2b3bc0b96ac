"""The pipeline's runner: order, completed stages, repeated stages, failures."""

import pathlib

import pytest

from oadp.mini.stages import Runner, Stage, StageError


def stage(name: str, *needs: str, text: str = '1', **kwargs) -> Stage:
    """Appends to ``log`` and writes ``name`` in the working directory."""
    code = f"open('log', 'a').write('{name} '); open('{name}', 'w').write('{text}')"
    return Stage(name, ('-c', code), (pathlib.Path(name),), needs=needs, **kwargs)


def run(root: pathlib.Path, *stages: Stage, **kwargs) -> list[str]:
    """Run stages, and return the names of those that ran since the last time."""
    log = root / 'log'
    log.unlink(missing_ok=True)
    Runner(root, pathlib.Path('stamps'), **kwargs).run(stages)
    return log.read_text().split() if log.is_file() else []


def test_needed_stages_run_first(tmp_path: pathlib.Path) -> None:
    order = run(tmp_path, stage('a'), stage('b'), stage('c', 'a', 'b'), stage('d', 'c'))
    assert sorted(order[:2]) == ['a', 'b'] and order[2:] == ['c', 'd']


def test_completed_stages_are_skipped(tmp_path: pathlib.Path) -> None:
    stages = stage('a'), stage('b', 'a')
    assert run(tmp_path, *stages) == ['a', 'b']
    assert run(tmp_path, *stages) == []


def test_a_missing_output_is_made_again(tmp_path: pathlib.Path) -> None:
    stages = stage('a'), stage('b', 'a')
    run(tmp_path, *stages)
    (tmp_path / 'b').unlink()
    assert run(tmp_path, *stages) == ['b']


def test_a_change_repeats_dependent_stages(tmp_path: pathlib.Path) -> None:
    run(tmp_path, stage('a'), stage('b', 'a'), stage('c'))
    assert run(tmp_path, stage('a', text='2'), stage('b', 'a'), stage('c')) == ['a', 'b']


def test_a_killed_stage_is_restarted_unless_it_resumes(tmp_path: pathlib.Path) -> None:
    half = "import os; os.makedirs('out', exist_ok=True); open('out/half', 'w'); {}"
    for resumes in (False, True):
        root = tmp_path / str(resumes)
        root.mkdir()
        code = half.format("assert os.path.exists('again')")
        broken = Stage('s', ('-c', code), (pathlib.Path('out'),), resumes=resumes)
        with pytest.raises(StageError):
            run(root, broken)
        (root / 'out/kept').touch()
        (root / 'again').touch()
        run(root, broken)
        assert (root / 'out/half').is_file() and (root / 'out/kept').exists() == resumes


def test_a_failure_names_the_log(tmp_path: pathlib.Path) -> None:
    bad = Stage('bad', ('-c', "raise SystemExit('it broke')"), (pathlib.Path('x'),))
    with pytest.raises(StageError, match=r'(?s)bad.*stamps/bad\.log.*it broke'):
        run(tmp_path, bad, stage('after', 'bad'))
    assert not (tmp_path / 'after').exists()


def test_a_stage_without_its_outputs_has_failed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StageError, match=r"did not create \['x'\]"):
        run(tmp_path, Stage('lazy', ('-c', ''), (pathlib.Path('x'),)))


def test_outputs_without_a_record_are_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'a').write_text('precious')
    with pytest.raises(StageError, match='--overwrite'):
        run(tmp_path, stage('a'))
    assert (tmp_path / 'a').read_text() == 'precious'
    assert run(tmp_path, stage('a'), overwrite=True) == ['a']


def test_two_run_at_a_time(tmp_path: pathlib.Path) -> None:
    # Each waits for the other's file: one after the other, neither would end.
    wait = (
        "import os, time, pathlib; pathlib.Path('{0}').touch()\n"
        "while not os.path.exists('{1}'): time.sleep(0.05)"
    )
    pair = [
        Stage(x, ('-c', wait.format(x, y)), (pathlib.Path(x),)) for x, y in (('a', 'b'), ('b', 'a'))
    ]
    run(tmp_path, *pair, slots=2)
    assert (tmp_path / 'a').exists() and (tmp_path / 'b').exists()


def test_a_second_pipeline_is_refused(tmp_path: pathlib.Path) -> None:
    """The second would remove what the first is writing."""
    code = (
        'import pathlib; from oadp.mini.stages import Runner, Stage, StageError\n'
        "try: Runner(pathlib.Path(), pathlib.Path('stamps')).run([])\n"
        "except StageError as e: pathlib.Path('second').write_text(str(e))"
    )
    first = Stage('first', ('-c', code), (pathlib.Path('second'),))
    run(tmp_path, first)
    assert 'another process is running' in (tmp_path / 'second').read_text()
    assert run(tmp_path, stage('third')) == ['third']
