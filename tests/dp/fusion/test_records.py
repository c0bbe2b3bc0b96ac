"""Records are read as they are written, and invalid ones are an error."""

import json
import multiprocessing

import numpy as np
import pytest
import torch

from oadp.categories import Categories
from oadp.dp.fusion.records import Dump, DumpMeta, DumpWriter, Record, record_type

CATEGORIES = Categories(bases=('cat', 'dog', 'zebra'), novels=('fox', 'gnu'))
META = DumpMeta(
    categories=CATEGORIES,
    nms=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300),
    dataset=dict(type='OV_COCO', ann_file='data/val.json'),
    source=dict(checkpoint='a.pth'),
)


def some_record(n: int = 20, seed: int = 0, temperature: float = 0.01) -> Record:
    """Return logits up to 100, cosine similarities divided by a temperature as in the classifiers."""
    generator = torch.Generator().manual_seed(seed)
    corners = 500 * torch.rand(n, 2, 2, generator=generator)
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    logits = torch.rand(2, n, CATEGORIES.num_all + 1, generator=generator) / temperature
    logits[1, :, -1] = -torch.inf
    return Record(boxes, logits[0], logits[1], torch.rand(n, generator=generator))


def test_round_trip(tmp_path):
    record = some_record()
    DumpWriter(tmp_path, META).write(139, record)
    dump = Dump(tmp_path)

    assert dump.meta == META
    assert dump.meta.is_base.tolist() == [True] * 3 + [False] * 2
    assert dump.image_ids() == [139]
    found = dump.read(139)
    assert all(t.dtype == torch.float32 for t in found)
    assert torch.equal(found.boxes, record.boxes)
    assert torch.equal(found.objectness, record.objectness)
    assert (found.object_logits[:, -1] == -torch.inf).all()


def test_half_precision_keeps_the_probabilities(tmp_path):
    # The error of fp16 for a logit near 100 is up to 1/32, which is 3 % of the probability.
    record = some_record(n=500)
    DumpWriter(tmp_path, META).write(1, record)
    found = Dump(tmp_path).read(1)
    for name in ('bbox_logits', 'object_logits'):
        want = getattr(record, name).softmax(1)
        assert (getattr(found, name).softmax(1) - want).abs().max() < 5e-4
        plain = getattr(record, name).half().float().softmax(1)
        assert (plain - want).abs().max() > 5e-3, 'the case must be one where plain fp16 fails'


def test_only_minus_infinity_reads_as_minus_infinity(tmp_path):
    record = some_record(n=2)
    record.bbox_logits[0, 1] = -1e6
    record.bbox_logits[1, 1] = -torch.inf
    DumpWriter(tmp_path, META).write(1, record)
    assert Dump(tmp_path).read(1).bbox_logits[:, 1].isinf().tolist() == [False, True]


def test_image_without_rois(tmp_path):
    DumpWriter(tmp_path, META).write(7, some_record(n=0))
    assert [t.shape for t in Dump(tmp_path).read(7)] == [(0, 4), (0, 6), (0, 6), (0,)]


def test_size_of_a_file_is_the_documented_one(tmp_path):
    DumpWriter(tmp_path, META).write(7, some_record(n=1000))
    size = (tmp_path / '000000000007.npy').stat().st_size
    assert record_type(5).itemsize == 4 * 4 + 4 + 2 * 4 + 2 * 6 * 2
    assert 0 < size - 1000 * record_type(5).itemsize < 1024


def test_resume_after_a_failed_write(tmp_path, monkeypatch):
    writer = DumpWriter(tmp_path, META)
    writer.write(3, some_record())

    def full_disk(f, rows):
        f.write(b'half')
        raise OSError('disk full')

    with monkeypatch.context() as m:
        m.setattr(np, 'save', full_disk)
        with pytest.raises(OSError, match='disk full'):
            writer.write(5, some_record())
    assert sorted(p.name for p in tmp_path.iterdir()) == ['000000000003.npy', 'meta.json']
    assert DumpWriter(tmp_path, META).missing([5, 3, 4]) == [5, 4]


def _write_every_other(root, rank):
    writer = DumpWriter(root, META)
    for image_id in range(rank, 20, 2):
        writer.write(image_id, some_record(seed=image_id))


def test_two_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=_write_every_other, args=(tmp_path, r)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    dump = Dump(tmp_path)
    assert dump.image_ids() == list(range(20))
    assert torch.equal(dump.read(17).boxes, some_record(seed=17).boxes)


def test_dumps_cannot_be_mixed(tmp_path):
    DumpWriter(tmp_path, META)
    other = DumpMeta(CATEGORIES, META.nms, META.dataset, dict(checkpoint='b.pth'))
    with pytest.raises(ValueError, match=r'source.*a\.pth.*b\.pth.*DUMP to another'):
        DumpWriter(tmp_path, other)


def test_invalid_shapes_and_values_are_not_written(tmp_path):
    writer = DumpWriter(tmp_path, META)
    record = some_record()
    with pytest.raises(ValueError, match=r'image 1: .*\(20, 6\).*\(20, 5\)'):
        writer.write(1, record._replace(bbox_logits=record.bbox_logits[:, 1:]))
    record.object_logits[3, 2] = torch.nan
    with pytest.raises(ValueError, match='image 1: .*not finite'):
        writer.write(1, record)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'not a record'),
        (b'garbage', 'not a record'),
        (np.zeros(3, record_type(9)), 'expected .* of 5 categories'),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    DumpWriter(tmp_path, META)
    path = tmp_path / '000000000001.npy'
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(ValueError, match=f'000000000001.npy: {message}.*dump again'):
        Dump(tmp_path).read(1)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'meta.json.*DUMP=.*oadp\.dp\.test'):
        Dump(tmp_path)
    DumpWriter(tmp_path, META)
    with pytest.raises(FileNotFoundError, match='image 2.*oadp'):
        Dump(tmp_path).read(2)
    path = tmp_path / 'meta.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 0}))
    with pytest.raises(ValueError, match='expected format version 1, found 0'):
        Dump(tmp_path)


@pytest.mark.parametrize('field', ['box', 'peaks', 'bbox_logits'])
def test_records_with_nan_are_refused(tmp_path, field: str):
    path = tmp_path / f'{7:012d}.npy'
    DumpWriter(tmp_path, META).write(7, some_record())
    rows = np.load(path)
    rows[field].flat[0] = np.nan
    np.save(path, rows)
    with pytest.raises(ValueError, match=rf"{path.name}: NaN or infinity in \['{field}'\]"):
        Dump(tmp_path).read(7)


def test_metadata_with_other_categories_than_names_are_refused():
    data = META.to_json() | {'categories': {'bases': [1], 'novels': []}}
    with pytest.raises(ValueError, match='expected the lists of names'):
        DumpMeta.from_json(data)
