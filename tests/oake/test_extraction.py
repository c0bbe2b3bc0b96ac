"""Extraction of a small dataset: resume, auto_fix, dry runs, packed stores, wrong configs."""

import json

import numpy as np
import pytest
import torch
from image_files import READABLE, UNREADABLE
from oake_dataset import CONFIGS, DIM, NUM_PROPOSALS, folder, read_all

from oadp.data.features import stores as features
from oadp.oake import pyramid, reader
from oadp.oake.blocks import Blocks
from oadp.oake.globals import Globals
from oadp.oake.image_list import ImageInfo
from oadp.oake.objects import Objects

pytestmark = pytest.mark.usefixtures('root')
KINDS = sorted(CONFIGS)


@pytest.mark.parametrize('kind', KINDS)
def test_every_image_has_a_valid_record(extract, root, kind):
    reports = extract(kind)
    assert [(r.done, r.skipped, r.failed) for r in reports] == [(6, 0, [])] * 2
    assert not list(root.rglob('*.oadp-tmp'))
    for split in ('train', 'val'):
        store = features.open_store(folder(root, kind, split), kind)
        images = json.loads((root / f'data/coco/annotations/instances_{split}2017.json').read_text())['images']  # fmt: skip
        assert store.ids() == sorted(i['id'] for i in images)
        for image, n in zip(images, NUM_PROPOSALS, strict=True):
            record = store.read(image['id'])
            count = dict(
                blocks=pyramid.num_blocks((image['width'], image['height']), 40), objects=n
            )
            features.check(kind, record, count=count.get(kind), dim=DIM)
            embeddings = record[None] if kind == 'globals' else record['embeddings']
            assert (embeddings.float().norm(dim=1) - 1).abs().amax().item() < 1e-3 if len(embeddings) else True  # fmt: skip


@pytest.mark.parametrize(
    ('kind', 'size'), [('globals', 2), ('blocks', 7), ('objects', 1), ('objects', 5)]
)
def test_features_do_not_depend_on_the_batch_size(extract, root, kind, size):
    extract(kind)
    expected = features.open_store(folder(root, kind), kind)
    extract(kind, {'.val.dataloader.dataset.output_dir': 'other', '.mini_batch_size': size, '.train': None})  # fmt: skip
    store = features.open_store('other', kind)
    for i in expected.ids():
        a, b = store.read(i), expected.read(i)
        for x, y in zip(
            *((r.values() if isinstance(r, dict) else [r]) for r in (a, b)), strict=True
        ):
            torch.testing.assert_close(x, y, atol=1e-3, rtol=0)


def test_resume_decodes_only_missing_images(extract, root, monkeypatch):
    extract('blocks')
    before = read_all(folder(root, 'blocks'))
    for name in sorted(before)[1:3]:
        (folder(root, 'blocks') / name).unlink()
    read_images = []
    original = reader._chunks
    monkeypatch.setattr(
        reader, '_chunks', lambda image, *a: read_images.append(image.id) or original(image, *a)
    )
    val, train = extract('blocks')
    assert (val.done, val.skipped) == (2, 4) and (train.done, train.skipped) == (0, 6)
    assert sorted(read_images) == [int(n[:-4]) for n in sorted(before)[1:3]]
    assert read_all(folder(root, 'blocks')) == before


BREAK = {
    'cut off': lambda record, data: data[: len(data) // 2],
    'empty': lambda record, data: b'',
    'a key lost': lambda record, data: dict(embeddings=record['embeddings']),
    'an object lost': lambda record, data: {k: v[:-1] for k, v in record.items()},
    'not finite': lambda record, data: dict(record, embeddings=record['embeddings'] / 0),
    'float32': lambda record, data: {k: v.float() for k, v in record.items()},
    'other CLIP': lambda record, data: dict(record, embeddings=record['embeddings'][:, :5]),
}


def test_auto_fix_rewrites_only_broken_records(extract, root):
    extract('objects', {'.train': None})
    path = folder(root, 'objects')
    before = read_all(path)
    # Images with at least one proposal.
    names = [n for n in sorted(before) if len(torch.load(path / n)['embeddings'])]
    for how, name in zip(BREAK, names * 2, strict=False):
        (path / name).write_bytes(before[name])
        content = BREAK[how](torch.load(path / name), before[name])
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
        else:
            torch.save(content, path / name)
        (report,) = extract('objects', {'.train': None})
        assert (report.done, report.skipped) == (0, 6), f'{how}: only auto_fix looks'
        (report,) = extract('objects', {'.train': None, '.val.dataloader.dataset.auto_fix': True})
        assert (report.done, report.skipped) == (1, 5), how
        assert read_all(path) == before, how


@pytest.mark.parametrize('kind', READABLE)
def test_images_have_the_pixels_of_all_commands(encoder, tmp_path, kind):
    write, pixels = READABLE[kind]
    height, width, _ = pixels.shape
    image = ImageInfo(1, write(tmp_path), (width, height))
    everything = np.array([[0, 0, width, height, 1]], np.float32)
    objects = Objects(encoder, True, proposals={1: everything}).prepare(image)
    if objects.num:
        seen = objects.cut(slice(0, 1)).image
        assert np.array_equal(seen.permute(1, 2, 0), pixels)
    if min(width, height) >= encoder.patch:
        seen = Globals(encoder).prepare(image).cut(slice(0, 1)).cut[0]
        assert np.array_equal(seen.permute(1, 2, 0), pixels)
    assert Blocks(encoder).prepare(image).num == pyramid.num_blocks((width, height), 40)


@pytest.mark.parametrize('task', [Globals, Blocks, Objects])
@pytest.mark.parametrize('kind', UNREADABLE)
def test_unreadable_images_raise_the_error_of_all_commands(encoder, tmp_path, kind, task):
    write, message = UNREADABLE[kind]
    options = dict(proposals={1: np.zeros((0, 5), np.float32)}) if task is Objects else {}
    with pytest.raises(ValueError, match=message):
        task(encoder, **options).prepare(ImageInfo(1, write(tmp_path), None))


def test_dry_run_writes_to_its_own_folder_every_time(extract, root, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    for _ in range(2):
        reports = extract('objects')
        assert [(r.done, r.skipped) for r in reports] == [(4, 0)] * 2
    assert not (root / 'data/coco/oake').exists()
    path = root / 'work_dirs/dry_run/oake/objects/data/coco/oake/objects/val2017'
    store = features.open_store(path, 'objects')
    assert [len(store.read(i)['bboxes']) for i in store.ids()] == [
        min(5, n)
        for i, n in sorted(zip((700, 705, 704, 703), NUM_PROPOSALS))  # noqa: B905
    ]


@pytest.mark.parametrize('kind', KINDS)
def test_packed_store_has_the_same_records(extract, root, kind):
    extract(kind)
    expected = features.open_store(folder(root, kind), kind)
    key = '.val.dataloader.dataset.output_dir'
    extract(kind, {key: 'packed/val.lmdb', '.train': None})
    store = features.open_store('packed/val.lmdb', kind)
    assert store.ids() == expected.ids()
    assert all(store.read_bytes(i) == expected.read_bytes(i) for i in store.ids())
    (report,) = extract(kind, {key: 'packed/val.lmdb', '.train': None})
    assert report.skipped == 6


@pytest.mark.parametrize('mode', ['LONGEST_EDGE', 'CONSTANT', 'RECTANGLE'])
def test_expand_modes(extract, mode):
    report, _ = extract('objects', {'.val.dataloader.dataset.expand_mode': mode})
    assert (report.done, report.failed, report.crops) == (6, [], sum(NUM_PROPOSALS))


def test_cutting_on_the_device_gives_the_same_embeddings(extract, root, monkeypatch):
    """The code for GPUs, run on the CPU."""
    from oadp.oake.objects import Objects

    extract('objects', {'.train': None})
    build = Objects.build
    monkeypatch.setattr(
        Objects,
        'build',
        classmethod(lambda cls, encoder, cut, *a, **k: build(encoder, True, *a, **k)),
    )
    extract('objects', {'.train': None, '.val.dataloader.dataset.output_dir': 'device'})
    expected = features.open_store(folder(root, 'objects'), 'objects')
    store = features.open_store('device', 'objects')
    for i in expected.ids():
        a, b = (s.read(i)['embeddings'].float() for s in (store, expected))
        if len(a):
            assert torch.cosine_similarity(a, b).min() > 0.999


@pytest.mark.parametrize(
    ('kind', 'overrides', 'message'),
    [
        ('objects', {'.val.dataloader.dataset.expand_mode': 'SQUARE'}, 'ADAPTIVE'),
        ('objects', {'.val.dataloader.dataset.type': 'VOC'}, 'COCO'),
        ('blocks', {'.precision': 'fp8'}, 'bf16'),
        ('blocks', {'.mini_batch_size': 0}, 'mini_batch_size is 0, expected an integer of at least 1'),
        ('globals', {'.train.dataloader.num_workers': -1}, r'\.train\.dataloader\.num_workers is -1, expected an integer of at least 0'),
        ('globals', {'.val.dataloader.num_workers': 1.5}, r'num_workers is 1\.5, expected an integer'),
        ('globals', {'.log.interval': 0}, r'\.log\.interval is 0, expected an integer of at least 1'),
        ('blocks', {'.val': dict(dataloader=dict(dataset=dict(rot='x')))}, "unknown key 'rot'; no 'root'"),
        ('blocks', {'.val': dict(dataloader=dict(dataset={}, workers=1))}, "unknown key 'workers'"),
    ],
)  # fmt: skip
def test_wrong_configs(extract, kind, overrides, message):
    with pytest.raises(ValueError, match=message):
        extract(kind, overrides)


def test_error_for_missing_clip(extract):
    with pytest.raises(FileNotFoundError, match='oadp.pretrained'):
        extract('globals', {'.clip': 'none.pt'})
