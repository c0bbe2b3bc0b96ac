"""Stores of features: errors for wrong, missing and broken records, and killed writers."""

import io
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from oadp.data.features import stores as features
from oadp.data.features.conversion import main
from oadp.utils.files import atomic_write

KINDS = features.KINDS


def make_record(kind: str, n: int = 3, dim: int = 8) -> features.Record:
    embeddings = torch.nn.functional.normalize(torch.randn(n, dim), dim=1).half()
    if kind == 'globals':
        return embeddings[0]
    record = dict(embeddings=embeddings, bboxes=torch.rand(n, 4).half())
    return dict(record, objectness=torch.rand(n, 1).half()) if kind == 'objects' else record


def equal(a: features.Record, b: features.Record) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    return torch.equal(a, b)


@pytest.fixture(params=['folder', 'packed.lmdb'])
def path(request, tmp_path):
    return tmp_path / request.param


@pytest.mark.parametrize('kind', KINDS)
def test_round_trip(path, kind):
    store = features.open_store(path, kind)
    assert 7 not in store and store.ids() == []
    records = {i: make_record(kind, n) for i, n in ((7, 3), (123456, 1))}
    for i, record in records.items():
        store.write(i, record)
    assert 7 in store and 8 not in store and store.ids() == [7, 123456]
    again = features.open_store(path, kind)
    for i, record in records.items():
        assert equal(store.read(i), record) and equal(again.read(i), record)
    store.write(7, records[123456])
    assert equal(again.read(7), records[123456])


def test_an_image_without_boxes(path):
    store = features.open_store(path, 'objects')
    store.write(1, make_record('objects', 0))
    assert store.read(1)['embeddings'].shape == (0, 8)


def test_a_global_embedding_stored_as_a_row(path):
    feature = make_record('globals')
    buffer = io.BytesIO()
    torch.save(feature[None], buffer)
    store = features.open_store(path, 'globals')
    store.write_bytes(1, buffer.getvalue())
    assert equal(store.read(1), feature)


@pytest.mark.parametrize('kind', KINDS)
def test_error_for_a_missing_record_names_path_and_command(path, kind):
    with pytest.raises(FileNotFoundError, match=f'oadp.oake.{kind}') as e:
        features.open_store(path, kind).read(42)
    assert str(path) in str(e.value) and '42' in str(e.value)


def test_file_names_equal_those_of_the_released_archives(tmp_path):
    features.open_store(tmp_path, 'globals').write(139, make_record('globals'))
    assert [f.name for f in tmp_path.iterdir()] == ['000000000139.pth']
    assert torch.load(tmp_path / '000000000139.pth').shape == (8,)


def test_a_view_is_stored_without_its_larger_storage(tmp_path):
    store = features.FolderStore(tmp_path, 'globals')
    store.write(1, torch.randn(10000, 8).half()[5])
    assert store.file(1).stat().st_size < 4000


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        ('globals', lambda r: r[None], r'shape \(1, 8\), expected \(8,\)'),
        ('globals', lambda r: dict(embeddings=r), 'expected tensors'),
        ('globals', lambda r: r.float(), 'float32, expected float16'),
        ('blocks', lambda r: dict(r, objectness=r['bboxes'][:, :1]), 'expected a dict of'),
        ('blocks', lambda r: r['embeddings'], 'found Tensor'),
        ('blocks', lambda r: dict(r, bboxes=r['bboxes'][:2]), r'bboxes is \(2, 4\), expected \(3, 4\)'),
        ('objects', lambda r: {k: v[:2] for k, v in r.items()}, r'\(2, 8\), expected \(3, 8\)'),
        ('objects', lambda r: dict(r, embeddings=r['embeddings'][:, :5]), r'expected \(3, 8\)'),
        ('objects', lambda r: dict(r, objectness=r['objectness'] / 0), 'not finite'),
        ('objects', lambda r: {k: v.float() for k, v in r.items()}, 'bboxes is torch.float32'),
    ],
)  # fmt: skip
def test_check_errors(kind, change, message):
    record = make_record(kind)
    features.check(kind, record, count=None if kind == 'globals' else 3, dim=8)
    with pytest.raises(ValueError, match=message):
        features.check(kind, change(record), count=3, dim=8)


def test_check_lists_all_faults_at_once():
    record = make_record('objects')
    bad = dict(record, bboxes=record['bboxes'].float(), objectness=record['objectness'][:1] / 0)
    with pytest.raises(ValueError) as e:
        features.check('objects', bad)
    assert all(s in str(e.value) for s in ('float32', '(1, 1)', 'finite'))


def test_unknown_kind():
    with pytest.raises(ValueError, match='globals'):
        features.open_store('x', 'object')


def test_a_wrong_record_is_not_written(path):
    with pytest.raises(ValueError, match='float32'):
        features.open_store(path, 'globals').write(1, torch.zeros(8))
    assert not path.exists()


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut', b'not torch'])
def test_error_for_a_broken_record_names_it(path, content):
    store = features.open_store(path, 'globals')
    store.write(1, make_record('globals'))
    store.write_bytes(1, content)
    with pytest.raises(ValueError, match='000000000001'):
        store.read(1)


def test_a_pickle_with_code_is_an_error(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ('touch ' + str(tmp_path / 'evil'),)

    torch.save(Evil(), tmp_path / '000000000001.pth')
    with pytest.raises(ValueError):
        features.open_store(tmp_path, 'globals').read(1)
    assert not (tmp_path / 'evil').exists()


def test_clean_removes_only_files_of_killed_processes(tmp_path):
    store = features.FolderStore(tmp_path, 'globals')
    store.write(1, make_record('globals'))
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    with atomic_write(tmp_path / 'name') as temporary:
        number = f'.{os.getpid()}.'
    running = temporary
    left = temporary.with_name(temporary.name.replace(number, f'.{dead.pid}.'))
    (tmp_path / 'name').unlink()
    for file in (left, running):
        file.write_bytes(b'half')
    store.clean()
    assert not left.exists() and running.exists() and store.ids() == [1]


@pytest.mark.parametrize('kind', ['globals'])
def test_killed_writers_leave_no_broken_records(path, kind):
    """Every existing record is complete, whenever the writer is killed."""
    code = f"""
        import torch
        from oadp.data.features import stores as features
        store = features.open_store({str(path)!r}, {kind!r})
        for i in range(10**9):
            store.write(i % 50, torch.full((20000,), i % 50 + 1.0).half())
            if i == 10:
                print('writing', flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(code)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = features.open_store(path, kind)
    store.clean()
    assert len(store.ids()) >= 10
    for i in store.ids():
        assert torch.equal(store.read(i), torch.full((20000,), i + 1.0).half())
    store.write(77, make_record(kind))
    assert 77 in store


def command(*arguments) -> int:
    return main([*map(str, arguments)])


@pytest.mark.parametrize('kind', KINDS)
def test_pack_unpack_check(tmp_path, monkeypatch, kind):
    source = features.open_store(tmp_path / 'source', kind)
    for i in (5, 99, 1234567):
        source.write(i, make_record(kind))
    packed, unpacked = tmp_path / 'packed.lmdb', tmp_path / 'unpacked'
    assert command('pack', source.path, packed) == 0
    assert command('unpack', packed, unpacked) == 0
    assert {f.name: f.read_bytes() for f in unpacked.iterdir()} == {
        f.name: f.read_bytes() for f in source.path.iterdir()
    }
    assert command('check', packed, source.path) == 0
    source.write(99, make_record(kind))
    assert command('check', packed) == 0
    assert command('check', packed, source.path) == 1


def test_pack_resumes_and_reports_broken_records(tmp_path, monkeypatch, caplog):
    source = features.open_store(tmp_path / 'source', 'blocks')
    for i in range(4):
        source.write(i, make_record('blocks'))
    (tmp_path / 'source/000000000002.pth').write_bytes(b'broken')
    packed = features.open_store(tmp_path / 'packed.lmdb', 'blocks')
    packed.write(0, source.read(0))
    assert command('pack', source.path, packed.path) == 1
    assert packed.ids() == [0, 1, 3]
    assert command('check', source.path) == 1
    source.write(2, make_record('blocks'))
    assert command('pack', source.path, packed.path) == 0
    assert packed.ids() == [0, 1, 2, 3]


def test_wrong_conversions(tmp_path):
    features.open_store(tmp_path / 'a', 'blocks').write(1, make_record('blocks'))
    with pytest.raises(ValueError, match='ends in .lmdb'):
        command('pack', tmp_path / 'a', tmp_path / 'b')
    with pytest.raises(ValueError, match='not end in .lmdb'):
        command('unpack', tmp_path / 'a', tmp_path / 'b.lmdb')
    with pytest.raises(FileNotFoundError, match='expected feature records'):
        command('check', tmp_path / 'none')


def test_a_packed_store_works_after_a_fork(tmp_path):
    """DataLoader workers inherit an open store."""
    store = features.open_store(tmp_path / 'a.lmdb', 'globals')
    record = make_record('globals')
    store.write(1, record)
    pid = os.fork()
    if pid == 0:
        try:
            store.write(2, record)
            os._exit(0 if equal(store.read(1), record) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.ids() == [1, 2] and equal(store.read(2), record)
