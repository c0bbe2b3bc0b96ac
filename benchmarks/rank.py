"""One training process and its workers, for ``benchmarks/scale.py``.

The argument is a JSON object: ``case`` (``coco``, ``lvis`` or ``proposals``), ``file``, ``num_images``,
``way`` (``oadp`` or ``mmdet``) and ``workers``. At each stage the process prints a JSON object and waits for
a line: after its imports, after it opened the file, after it started its workers, and after they read the
annotations or proposals of all images.
"""

import contextlib
import json
import multiprocessing
import os
import pathlib
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import oadp.dp  # noqa: F401  registers the datasets, and adapts mmdet, which is imported by it
from oadp.categories import get_categories
from oadp.data.proposals import load_proposals

TYPES = {
    'oadp': dict(coco='OV_COCO', lvis='OV_LVIS'),
    'mmdet': dict(coco='CocoDataset', lvis='LVISV1Dataset'),
}


def main() -> None:
    job, answers = json.loads(sys.argv[1]), os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # lvis-api and mmdet print to stdout

    def report(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)
        sys.stdin.readline()

    before = peak()
    report()
    begin = time.perf_counter()
    read, count = open_proposals(job) if job['case'] == 'proposals' else open_dataset(job)
    report(seconds=time.perf_counter() - begin, peak_mb=peak() - before)
    start, done = multiprocessing.get_context('fork').Event(), multiprocessing.Semaphore(0)
    workers = [
        multiprocessing.Process(target=work, args=(read, count, start, done), daemon=True)
        for _ in range(job['workers'])
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        done.acquire()
    report(workers=[worker.pid for worker in workers])
    start.set()
    for _ in workers:
        done.acquire()
    report(workers=[worker.pid for worker in workers])


def work(read: Callable[[int], Any], count: int, start: Any, done: Any) -> None:
    read(0)
    done.release()
    start.wait()
    for index in range(count):
        read(index)
    done.release()
    time.sleep(3600)  # until it is measured


def open_dataset(job: dict[str, Any]) -> tuple[Callable[[int], Any], int]:
    from mmdet.datasets import DATASETS

    categories = get_categories(job['case'])
    own = dict(categories=categories) if job['way'] == 'oadp' else dict(classes=categories.all_)
    config = dict(type=TYPES[job['way']][job['case']], ann_file=job['file'], **own)
    steps = [dict(type='LoadAnnotations', with_bbox=True, with_mask=job['case'] == 'lvis')]
    with contextlib.redirect_stdout(sys.stderr):
        dataset = DATASETS.build(dict(config, pipeline=steps))
    return lambda index: (dataset.data_infos[index], dataset.get_ann_info(index)), len(dataset)


def open_proposals(job: dict[str, Any]) -> tuple[Callable[[int], Any], int]:
    count = job['num_images']
    if job['way'] == 'oadp':
        return load_proposals(job['file'], range(count), [(640, 640)] * count, True).get, count
    with open(job['file'], 'rb') as f:  # as mmdet reads it
        proposals = pickle.load(f)
    return lambda index: proposals[index].sum(), count


def peak() -> float:
    """Return the largest resident size of this process in MB (Linux)."""
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    [line] = (line for line in lines if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == '__main__':
    main()
