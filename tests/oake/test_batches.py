"""Batches contain inputs of several images in order, and the number of waiting inputs is bounded."""

import torch

from oadp.oake.batches import Batcher, halve
from oadp.oake.image_list import ImageInfo
from oadp.oake.reader import Chunk
from oadp.oake.task import CutPixels


def make_chunk(image_id, n, size=8, start=0):
    pixels = torch.arange(start, start + n).view(n, 1, 1, 1).expand(n, 3, size, size)
    return Chunk(ImageInfo(image_id, None, None), n, {}, start, CutPixels(pixels))


def content(batch):
    """Return image id and position of each input."""
    return [
        (s.chunk.image.id, int(p))
        for s in batch
        for p in s.chunk.inputs.pixels(s.part, torch.device('cpu'))[:, 0, 0, 0]
    ]


def test_batches_are_full_and_complete():
    batcher = Batcher(lambda size: 4)
    chunks = [make_chunk(i, n) for i, n in enumerate([1, 1, 1, 9, 2, 4, 3])]
    batches = [content(b) for c in chunks for b in batcher.add(c)]
    assert all(len(b) == 4 for b in batches)
    batches += [content(b) for b in batcher.flush()]
    expected = [(c.image.id, p) for c in chunks for p in range(len(c.inputs))]
    assert [x for b in batches for x in b] == expected
    assert list(batcher.flush()) == []


def test_batches_have_one_size_and_waiting_inputs_are_bounded():
    batcher = Batcher(lambda size: 4)
    waiting, seen = 0, []
    for i in range(100):
        chunk = make_chunk(i, 1, size=8 * (i % 50 + 1))
        waiting += 1
        for batch in batcher.add(chunk):
            assert len({s.chunk.inputs.size_hw for s in batch}) == 1
            waiting -= len(batch)
            seen += [s.chunk.image.id for s in batch]
        assert waiting <= 16
    seen += [s.chunk.image.id for b in batcher.flush() for s in b]
    assert sorted(seen) == list(range(100))


def test_batch_size_by_size():
    batcher = Batcher(lambda size: 64 // size[0])
    assert [len(content(b)) for b in batcher.add(make_chunk(0, 16, size=8))] == [8, 8]
    assert [len(content(b)) for b in batcher.add(make_chunk(0, 16, size=32))] == [2] * 8


def test_halve():
    chunks = [make_chunk(i, n) for i, n in enumerate([3, 1, 4])]
    batcher = Batcher(lambda size: 8)
    [batch] = [b for c in chunks for b in batcher.add(c)]
    first, second = halve(batch)
    assert (len(content(first)), len(content(second))) == (4, 4)
    assert content(first) + content(second) == content(batch)
    for part in (first, second, halve(first)[1]):
        while sum(map(len, part)) > 1:
            part = halve(part)[0]
        assert len(content(part)) == 1
