"""Extraction of a small dataset: resume, auto_fix, failures, dry runs, packed stores."""

import json
import pickle

import numpy as np
import PIL.Image
import pytest
import torch
from image_files import READABLE, UNREADABLE
from oake_dataset import CONFIGS, DIM, NUM_PROPOSALS, SIZES, make_image, read_all

from oadp.data.features import stores as features
from oadp.oake import pyramid, reader
from oadp.oake.blocks import Blocks
from oadp.oake.encoder import ImageEncoder
from oadp.oake.globals import Globals
from oadp.oake.image_list import ImageInfo
from oadp.oake.objects import Objects

pytestmark = pytest.mark.usefixtures('root')
KINDS = sorted(CONFIGS)


def folder(root, kind, split='val'):
    return root / f'data/coco/oake/{kind}/{split}2017'


def annotate(root, name, **values):
    """Change the record of an image in the validation annotations."""
    path = root / 'data/coco/annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    [image] = [i for i in content['images'] if i['file_name'] == name]
    image.update(values)
    path.write_text(json.dumps(content))


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


@pytest.mark.parametrize('kind', KINDS)
def test_an_unreadable_image_is_one_failure(extract, root, kind):
    images = sorted((root / 'data/coco/val2017').iterdir())
    sizes = [PIL.Image.open(image).size for image in images]
    images[1].write_bytes(images[1].read_bytes()[:1000])
    images[4].unlink()
    val, train = extract(kind)
    assert (val.done, len(val.failed), train.done) == (4, 2, 6)
    assert all(any(str(images[i].name) in line for line in val.failed) for i in (1, 4))
    assert len(features.open_store(folder(root, kind), kind).ids()) == 4
    log = (root / f'work_dirs/oake/{kind}/oake.log').read_text()
    assert images[1].name in log and '2 failed' in log
    for i in (1, 4):
        make_image(sizes[i], np.random.default_rng(0)).save(images[i])
    assert extract(kind)[0].done == 2


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


@pytest.mark.parametrize('kind', KINDS)
def test_an_image_of_another_size_than_its_annotation_is_one_failure(extract, root, kind):
    name = sorted((root / 'data/coco/val2017').iterdir())[2].name
    annotate(root, name, width=30_000, height=30_000)
    val, _ = extract(kind)
    assert val.done == 5 and len(val.failed) == 1
    assert name in val.failed[0] and 'annotation says 30000 × 30000' in val.failed[0]


@pytest.mark.parametrize('kind', KINDS)
def test_batches_are_halved_if_memory_is_insufficient(extract, root, monkeypatch, kind):
    extract(kind, {'.train': None})
    expected = read_all(folder(root, kind))
    sizes = limit_memory(monkeypatch, lambda pixels: len(pixels) > 2)
    (report,) = extract(kind, {'.train': None, '.val.dataloader.dataset.output_dir': 'small'})
    assert (report.done, report.failed) == (6, [])
    assert kind == 'globals' or max(sizes) > 2
    store, whole = (features.open_store(p, kind) for p in ('small', folder(root, kind)))
    assert len(expected) == 6
    for i in whole.ids():
        a, b = store.read(i), whole.read(i)
        for x, y in zip(
            *((r.values() if isinstance(r, dict) else [r]) for r in (a, b)), strict=True
        ):
            torch.testing.assert_close(x, y, atol=1e-3, rtol=0)


@pytest.mark.parametrize('kind', KINDS)
def test_insufficient_memory_for_one_image_is_one_failure(extract, root, monkeypatch, kind):
    image = sorted((root / 'data/coco/val2017').iterdir())[1]
    pixels = torch.from_numpy(np.array(PIL.Image.open(image)))
    if kind == 'globals':
        height, width = (side // 8 * 8 for side in pixels.shape[:2])
        limit_memory(monkeypatch, lambda x: x.shape[2:] == (height, width))
        (report,) = extract(kind, {'.train': None})
        named = [line for line in report.failed if image.name in line]
        assert len(named) == 1 and f'{width} × {height} pixels' in named[0]
        assert report.done + len(report.failed) == 6
    else:
        calls = limit_memory(monkeypatch, lambda x: True)
        (report,) = extract(kind, {'.train': None})
        failed = 6 if kind == 'blocks' else sum(n > 0 for n in NUM_PROPOSALS)
        assert (report.done, len(report.failed)) == (6 - failed, failed) and calls
        assert all('too little memory' in line for line in report.failed)


def limit_memory(monkeypatch, is_too_much):
    """Let the encoder raise torch's out-of-memory error; return the list of batch sizes."""
    sizes = []
    forward = ImageEncoder.forward

    def limited(self, pixels, outside=None):
        sizes.append(len(pixels))
        if is_too_much(pixels):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return forward(self, pixels, outside)

    monkeypatch.setattr(ImageEncoder, 'forward', limited)
    return sizes


def test_an_image_with_too_many_patches_is_one_failure(extract, root, monkeypatch):
    monkeypatch.setattr('oadp.oake.globals.MAX_TOKENS', 93)  # of 8 × 8 pixels
    (report,) = extract('globals', {'.train': None})
    assert (report.done, len(report.failed)) == (5, 1)
    assert '128 × 47 pixels, more than the 5952' in report.failed[0]


def test_proposals_that_are_not_finite_are_one_failure(extract, root):
    file = root / 'data/coco/proposals/oln_r50_fpn_coco_val.pkl'
    proposals = pickle.loads(file.read_bytes())
    proposals[0][0, 2] = np.inf
    file.write_bytes(pickle.dumps(proposals))
    val, _ = extract('objects')
    assert len(val.failed) == 1 and 'finite' in val.failed[0]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_an_embedding_that_is_not_finite_is_one_failure(extract, root, monkeypatch, kind, value):
    """One embedding is not finite; the other images of its batch have records."""
    forward = ImageEncoder.forward
    calls = []

    def faulty(self, pixels, outside=None):
        embeddings = forward(self, pixels, outside).clone()
        if not calls:
            embeddings[-1, 0] = value
        calls.append(len(pixels))
        return embeddings

    monkeypatch.setattr(ImageEncoder, 'forward', faulty)
    val, train = extract(kind)
    assert (val.done, len(val.failed), train.done, train.failed) == (5, 1, 6, [])
    names = [p.name for p in (root / 'data/coco/val2017').iterdir()]
    assert sum(name in val.failed[0] for name in names) == 1
    assert 'not finite' in val.failed[0] and '.precision::fp32' in val.failed[0]
    assert len(features.open_store(folder(root, kind), kind).ids()) == 5
    again, _ = extract(kind)
    assert (again.done, again.skipped, again.failed) == (1, 5, [])


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


def test_an_image_smaller_than_a_patch_is_one_failure(extract, root):
    images = sorted((root / 'data/coco/val2017').iterdir())
    make_image((50, 7), np.random.default_rng(0)).save(images[0])
    annotate(root, images[0].name, width=50, height=7)
    val, _ = extract('globals')
    assert len(val.failed) == 1 and '50 × 7' in val.failed[0]
    assert len(SIZES) - 1 == val.done
