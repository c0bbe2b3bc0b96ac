"""An image that cannot be extracted is one failure, and the other images have records."""

import json
import pickle

import numpy as np
import PIL.Image
import pytest
import torch
from oake_dataset import CONFIGS, NUM_PROPOSALS, SIZES, folder, make_image, read_all

from oadp.data.features import stores as features
from oadp.oake.encoder import ImageEncoder

pytestmark = pytest.mark.usefixtures('root')
KINDS = sorted(CONFIGS)


def annotate(root, name, **values):
    """Change the record of an image in the validation annotations."""
    path = root / 'data/coco/annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    [image] = [i for i in content['images'] if i['file_name'] == name]
    image.update(values)
    path.write_text(json.dumps(content))


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


def test_an_image_smaller_than_a_patch_is_one_failure(extract, root):
    images = sorted((root / 'data/coco/val2017').iterdir())
    make_image((50, 7), np.random.default_rng(0)).save(images[0])
    annotate(root, images[0].name, width=50, height=7)
    val, _ = extract('globals')
    assert len(val.failed) == 1 and '50 × 7' in val.failed[0]
    assert len(SIZES) - 1 == val.done
