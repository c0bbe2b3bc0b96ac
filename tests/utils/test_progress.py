"""Progress without a terminal: log lines with count, rate and what is left."""

import logging

import pytest

from oadp.utils.progress import Progress


@pytest.fixture
def lines():
    class Record(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    found, handler = [], Record()
    logging.getLogger('oadp').addHandler(handler)
    yield found
    logging.getLogger('oadp').removeHandler(handler)


def test_lines(lines):
    with Progress(4, 'encode', 'texts', interval=0) as progress:
        progress.update(2, loss=0.25)
        progress.update(2)
    assert lines[0].startswith('encode: 2/4 texts, ') and lines[0].endswith('s left, loss 0.25')
    assert lines[-1].startswith('encode: 4/4 texts')


def test_short_work_and_other_processes_are_silent(lines):
    with Progress(2, 'encode') as progress:
        progress.update(2)
    with Progress(2, 'encode', interval=0, enabled=False) as progress:
        progress.update(2)
    assert not lines


def test_on_a_terminal_there_is_a_bar(lines, monkeypatch, capsys):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    with Progress(4, 'encode', 'texts') as progress:
        progress.update(4, loss=0.5)
    assert '4/4' in capsys.readouterr().err and not lines
