"""Files that are there as a whole or not at all."""

import pathlib

import pytest

from oadp.atomic import atomic_write


def test_the_file_gets_its_name_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'new' / 'a.txt'
    with atomic_write(path) as temporary:
        temporary.write_text('new')
        assert not path.exists() and temporary.parent == path.parent
    assert [p.name for p in path.parent.iterdir()] == ['a.txt']
    assert path.read_text() == 'new'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path: pathlib.Path, error: type) -> None:
    (tmp_path / 'a.txt').write_text('old')
    with pytest.raises(error), atomic_write(tmp_path / 'a.txt') as temporary:
        temporary.write_text('half')
        raise error
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('a.txt', 'old')]
