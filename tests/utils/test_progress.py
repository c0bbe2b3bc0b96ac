"""Progress is a bar on a terminal, and log lines with count, rate and time left elsewhere."""

import logging

import pytest

from oadp.utils.progress import Progress, format_duration


@pytest.fixture
def lines():
    class Record(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    found, handler = [], Record()
    logging.getLogger('oadp').addHandler(handler)
    yield found
    logging.getLogger('oadp').removeHandler(handler)


def test_log_lines(lines):
    with Progress(4, 'encode', 'texts', interval=0) as progress:
        progress.update(2, loss=0.25)
        progress.update(2)
    assert lines[0].startswith('encode: 2/4 texts, ') and lines[0].endswith(
        'texts/s, 0:00:00 left, loss 0.25'
    )
    assert lines[-1].startswith('encode: 4/4 texts')


def test_short_jobs_and_other_processes_log_nothing(lines):
    with Progress(2, 'encode') as progress:
        progress.update(2)
    with Progress(2, 'encode', interval=0, enabled=False) as progress:
        progress.update(2)
    assert not lines


def test_a_terminal_shows_a_bar(lines, monkeypatch, capsys):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    with Progress(4, 'encode', 'texts') as progress:
        progress.update(4, loss=0.5)
    assert '4/4' in capsys.readouterr().err and not lines


def test_a_line_every_n_items(lines):
    with Progress(100, 'extract', 'images', interval=1e9, every=3) as progress:
        for _ in range(2):
            progress.update()
        progress.update(0, failed=1)
        assert not lines
        for count in (1, 2, 3, 7):
            progress.update(count)
    counts = [line.split()[1] for line in lines]
    assert counts == ['3/100', '8/100', '15/100', '15/100']


def test_figures_without_scientific_notation(lines):
    with Progress(2, 'extract', 'images', interval=0) as progress:
        progress.update(0, skipped=118_287, **{'crops/s': 12345.6})
        progress.update(1, skipped=118_287, **{'crops/s': 0.123456})
    assert lines[0].endswith('an unknown time left, skipped 118287, crops/s 12346')
    assert lines[1].endswith('left, skipped 118287, crops/s 0.1235')


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0.4, '0:00:00'), (59.6, '0:01:00'), (93784, '1 day, 2:03:04')]
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text
