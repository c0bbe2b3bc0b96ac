"""Seconds and memory to start on datasets of COCO's and LVIS's size, against mmdet's own datasets.

    python benchmarks/scale.py [--images N] [--folder DIR]
    python benchmarks/scale.py --cases lvis --ways mmdet --workers 1    # mmdet needs most of the memory

Makes annotation files of the size of COCO's training split (118,287 images, 860,001 annotations, 450 MB)
and of LVIS's (100,170 images, 1,270,141 annotations, 1.1 GB), and proposals of COCO's images (1,000 boxes
each, 2.4 GB). ``--images`` makes smaller ones. Training processes (``--ranks``) open a file at the same
time, twice: at the first start it is converted, at the second one the result is there. Then each starts
workers (``--workers``), which read the annotations (or proposals) of all images. mmdet's datasets, and the
list of proposals, are in one process and its workers.

Memory is the proportional set size, in which a page that n processes share counts 1 / n in each:

- ``rank``: what a process has more after it opened the file than after its imports;
- ``worker``: what a worker has more after it read all images than before;
- ``machine``: the sum of both over all processes;
- ``peak``: the most that a process had resident during the first start, above its imports.

The last line is a JSON object with the same figures, in seconds and MB.
"""

import argparse
import json
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

RANK = pathlib.Path(__file__).with_name('rank.py')
SIZES = {  # images, annotations, numbers of a polygon on average
    'coco': (118_287, 860_001, 46),
    'lvis': (100_170, 1_270_141, 90),
}
PROPOSALS = 1000  # per image
STAGES = ('imported', 'opened', 'forked', 'read')  # what a rank reports
_POLYGONS = 997  # different ones in a file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--images', type=int, help='the number of images; that of each dataset by default'
    )
    parser.add_argument('--cases', nargs='+', default=['coco', 'lvis', 'proposals'],
                        choices=['coco', 'lvis', 'proposals'])  # fmt: skip
    parser.add_argument('--ways', nargs='+', default=['oadp', 'mmdet'], choices=['oadp', 'mmdet'])
    parser.add_argument('--ranks', type=int, default=2)
    parser.add_argument('--workers', type=int, default=2, help='of each rank')
    parser.add_argument('--folder', type=pathlib.Path, help='on which disk; the default is TMPDIR')
    args = parser.parse_args()
    figures = {}
    for case in args.cases:
        with tempfile.TemporaryDirectory(dir=args.folder) as root:
            figures[case] = measure_case(case, pathlib.Path(root), args)
        print_rows(case, figures[case])
    print(json.dumps(dict(ranks=args.ranks, workers=args.workers, **figures)))


def measure_case(case: str, root: pathlib.Path, args: argparse.Namespace) -> dict[str, Any]:
    name = 'coco' if case == 'proposals' else case
    num_images = args.images or SIZES[name][0]
    begin = time.monotonic()
    file = root / ('proposals.pkl' if case == 'proposals' else 'annotations.json')
    if case == 'proposals':
        write_proposals(file, num_images)
    else:
        with file.open('w') as f:
            write_annotations(f, name, num_images)
    size = file.stat().st_size / 1e6
    print(
        f'{case}: {num_images:,} images, {size:,.0f} MB, made in {time.monotonic() - begin:.0f} s'
    )
    job = dict(case=case, file=str(file), num_images=num_images, workers=args.workers)
    measured = {}
    if 'oadp' in args.ways:
        first = measure({**job, 'way': 'oadp'}, args.ranks)
        second = measure({**job, 'way': 'oadp'}, args.ranks)
        measured['oadp'] = {
            **second,
            'first_seconds': first['seconds'],
            'peak_mb': first['peak_mb'],
            'cache_mb': sum(p.stat().st_size for p in root.rglob('*.npz')) / 1e6,
        }
        shutil.rmtree(root / '.oadp_cache')
    if 'mmdet' in args.ways:
        measured['mmdet'] = measure({**job, 'way': 'mmdet'}, 1)
    rounded = {w: {k: round(v, 1) for k, v in own.items()} for w, own in measured.items()}
    return dict(images=num_images, file_mb=round(size), **rounded)


def print_rows(case: str, figures: dict[str, Any]) -> None:
    row = '{:<18}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}'
    print(row.format('', 'first s', 'then s', 'rank MB', 'worker', 'machine', 'peak'))
    for way in ('oadp', 'mmdet'):
        if (f := figures.get(way)) is None:
            continue
        print(row.format(
            f'{case} {way}', *(f'{f.get(k, f["seconds"]):.1f}' for k in ('first_seconds', 'seconds')),
            *(f'{f[k]:.0f}' for k in ('rank_mb', 'worker_mb', 'machine_mb', 'peak_mb')),
        ))  # fmt: skip


def measure(job: dict[str, Any], num_ranks: int) -> dict[str, float]:
    """Start ranks, and measure all processes whenever all have reached a stage."""
    command = [sys.executable, str(RANK), json.dumps(job)]
    ranks = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(num_ranks)
    ]
    try:
        sets, reports = {}, {}
        for stage in STAGES:
            reports[stage] = [read_report(rank, stage) for rank in ranks]
            workers = [pid for report in reports[stage] for pid in report.get('workers', ())]
            sets[stage] = (
                [proportional_set(rank.pid) for rank in ranks],
                [proportional_set(pid) for pid in workers],
            )
            for rank in ranks:
                rank.stdin.write('go\n')  # type: ignore[union-attr]
                rank.stdin.flush()  # type: ignore[union-attr]
    finally:
        for rank in ranks:
            rank.stdin.close()  # type: ignore[union-attr]
            rank.wait()
    total = {stage: sum(own) + sum(workers) for stage, (own, workers) in sets.items()}
    opened, imported = np.mean(sets['opened'][0]), np.mean(sets['imported'][0])
    grown = total['opened'] - total['imported'] + total['read'] - total['forked']
    return dict(
        seconds=max(report['seconds'] for report in reports['opened']),
        rank_mb=float(opened - imported),
        worker_mb=float(np.mean(sets['read'][1]) - np.mean(sets['forked'][1])),
        machine_mb=grown,
        peak_mb=max(report['peak_mb'] for report in reports['opened']),
    )


def read_report(rank: subprocess.Popen, stage: str) -> dict[str, Any]:
    """Wait until a rank has reached a stage."""
    assert rank.stdout is not None
    line = rank.stdout.readline()
    if not line:
        sys.exit(f'a process ended before it was {stage}; its error is above')
    return json.loads(line)


def proportional_set(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    lines = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    [kilobytes] = (line.split()[1] for line in lines if line.startswith('Pss:'))
    return int(kilobytes) * 1024 / 1e6


def write_proposals(file: pathlib.Path, num_images: int) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (16, PROPOSALS, 2))
    boxes = np.concatenate(
        [corners, corners + rng.uniform(4, 100, corners.shape), rng.random((16, PROPOSALS, 1))], 2
    )
    boxes = boxes.astype(np.float32)
    with file.open('wb') as f:
        pickler = pickle.Pickler(f, 4)
        pickler.fast = True  # writes an array as often as it is in the list
        pickler.dump([boxes[i % 16] for i in range(num_images)])


def write_annotations(f: TextIO, name: str, num_images: int) -> None:
    """Write a file like COCO's or LVIS's, in the order of ``build_annotations``: images last."""
    from oadp.categories import get_categories

    all_images, all_annotations, num_numbers = SIZES[name]
    num_annotations = all_annotations * num_images // all_images
    is_lvis, names = name == 'lvis', get_categories(name).all_
    f.write('{"info": {"year": 2017}, "licenses": [{"id": 1}],\n"categories": ')
    frequencies = [dict(frequency='rcf'[i % 3]) if is_lvis else {} for i in range(len(names))]
    pairs = enumerate(zip(names, frequencies, strict=True))
    json.dump([dict(id=i, name=n, **more) for i, (n, more) in pairs], f)
    rng = np.random.default_rng(0)
    sizes_wh = rng.integers(320, 641, (num_images, 2))
    f.write(',\n"annotations": [')
    write_joined(f, annotations(rng, sizes_wh, num_annotations, num_numbers, len(names), is_lvis))
    f.write('],\n"images": [')
    write_joined(f, images(rng, sizes_wh, len(names), is_lvis))
    f.write(']}\n')


def write_joined(f: TextIO, items: Iterator[str]) -> None:
    for i, item in enumerate(items):
        f.write(',\n' if i else '\n')
        f.write(item)


def annotations(
    rng: np.random.Generator, sizes_wh: np.ndarray, num: int, num_numbers: int, num_categories: int,
    is_lvis: bool,
) -> Iterator[str]:  # fmt: skip
    polygons = [
        json.dumps([rng.uniform(0, 320, 2 * n).round(2).tolist()])
        for n in 3 + rng.poisson(num_numbers / 2 - 3, _POLYGONS)
    ]
    crowd = json.dumps(rng.integers(0, 900, 60).tolist())
    owners = rng.integers(0, len(sizes_wh), num)
    wh = rng.uniform(4, 160, (num, 2)).round(2)
    boxes = np.concatenate([(rng.random((num, 2)) * (sizes_wh[owners] - wh)).round(2), wh], 1)
    rows = zip(
        boxes.tolist(), owners.tolist(), rng.integers(0, num_categories, num).tolist(), strict=True
    )
    for i, (box, owner, category) in enumerate(rows):
        mask, flag = polygons[i % _POLYGONS], '' if is_lvis else '"iscrowd": 0, '
        if not is_lvis and i % 100 == 99:
            width, height = sizes_wh[owner]
            mask, flag = f'{{"counts": {crowd}, "size": [{height}, {width}]}}', '"iscrowd": 1, '
        area = round(box[2] * box[3] * 0.6, 2)
        yield (
            f'{{"segmentation": {mask}, "area": {area}, {flag}"image_id": {owner * 5 + 9}, '
            f'"bbox": {box}, "category_id": {category}, "id": {i * 7 % num if num % 7 else i}}}'
        )


def images(
    rng: np.random.Generator, sizes_wh: np.ndarray, num_categories: int, is_lvis: bool
) -> Iterator[str]:
    absent = rng.integers(0, num_categories, (len(sizes_wh), 12)).tolist()
    for i, (width, height) in enumerate(sizes_wh.tolist()):
        file = f'{i * 5 + 9:012d}.jpg'
        names = f'"coco_url": "http://images.cocodataset.org/train2017/{file}"'
        if is_lvis:
            names += f', "neg_category_ids": {absent[i]}, "not_exhaustive_category_ids": []'
        else:
            names += f', "file_name": "{file}"'
        yield (
            f'{{"license": 3, {names}, "height": {height}, "width": {width}, '
            '"date_captured": "2013-11-14 11:18:45", '
            f'"flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg", '
            f'"id": {i * 5 + 9}}}'
        )


if __name__ == '__main__':
    main()
