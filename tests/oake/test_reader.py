"""The reading threads read each image once, report failures, have bounded memory, and stop at the end."""

import threading
import time

import pytest
import torch

from oadp.oake.image_list import ImageInfo
from oadp.oake.reader import Failure, read
from oadp.oake.task import CutPixels, Sample

IMAGES = [ImageInfo(i, None, None) for i in range(12)]


class FakeTask:
    """Image i has i inputs; some images fail at the start, others after some chunks."""

    def __init__(self, bad=(), bad_later=()):
        self.bad, self.bad_later, self.cuts = bad, bad_later, 0

    def prepare(self, image):
        if image.id in self.bad:
            raise OSError('cannot read')

        def cut(part):
            self.cuts += 1
            if image.id in self.bad_later and part.start > 0:
                raise ValueError('half-way')
            return CutPixels(torch.zeros(part.stop - part.start, 3, 4, 4))

        return Sample(image.id, {}, cut)


@pytest.mark.parametrize('num_workers', [0, 1, 3, 50])
def test_every_input_is_read_once(num_workers):
    seen = {image.id: [] for image in IMAGES}
    for chunk in read(IMAGES, FakeTask(), num_workers, chunk_size=4):
        size = 0 if chunk.inputs is None else len(chunk.inputs)
        assert chunk.num == chunk.image.id
        seen[chunk.image.id] += list(range(chunk.start, chunk.start + size))
    assert all(positions == list(range(i)) for i, positions in seen.items())


def test_failures_do_not_affect_other_images():
    items = list(read(IMAGES, FakeTask(bad=[3, 7], bad_later=[9]), 2, 4))
    failures = {i.image.id: str(i.error) for i in items if isinstance(i, Failure)}
    assert failures == {3: 'cannot read', 7: 'cannot read', 9: 'half-way'}
    done = {i.image.id for i in items if not isinstance(i, Failure)}
    assert done == {i.id for i in IMAGES} - {3, 7}


def test_the_number_of_waiting_chunks_is_bounded():
    task = FakeTask()
    chunks = read([ImageInfo(10000, None, None)], task, 1, 4)
    next(chunks)
    time.sleep(0.3)
    assert task.cuts <= 5
    chunks.close()


def test_threads_stop_with_the_loop():
    before = threading.active_count()
    chunks = read(IMAGES, FakeTask(), 3, 1)
    next(chunks)
    assert threading.active_count() > before
    chunks.close()
    assert threading.active_count() == before
