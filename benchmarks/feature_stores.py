"""How fast features are read in training: a folder of files, and one packed file.

    python benchmarks/feature_stores.py --records 500

Records of 800 objects, read in random order by two worker processes, once with the pages dropped from
memory (cold, where the system lets a user drop them) and once again (warm). The last line is a JSON
object: records per second, and seconds to write and to list.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

import torch
from torch.utils.data import DataLoader, Dataset

from oadp.data.features.stores import Store, open_store

BOXES, DIM = 800, 512


class Records(Dataset):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = store.ids()

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, i: int) -> int:
        # Not the record: handing it from process to process is the same for both stores.
        return self._store.read(self._ids[i])['embeddings'].numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--records', type=int, default=500)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--folder', type=pathlib.Path, help='on which disk; the default is TMPDIR')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as root:
        figures = {
            name: measure(pathlib.Path(root, name), args) for name in ('folder', 'packed.lmdb')
        }
    print(json.dumps(dict(records=args.records, workers=args.workers, **figures)))


def measure(path: pathlib.Path, args: argparse.Namespace) -> dict[str, float]:
    store = open_store(path, 'objects')
    embeddings = torch.nn.functional.normalize(torch.randn(BOXES, DIM), dim=1).half()
    record = dict(
        embeddings=embeddings,
        bboxes=torch.rand(BOXES, 4).half(),
        objectness=torch.rand(BOXES, 1).half(),
    )
    begin = time.perf_counter()
    for i in range(args.records):
        store.write(i, record)
    written = time.perf_counter() - begin
    drop_pages(path)
    figures = dict(write_seconds=written, cold=read(store, args), warm=read(store, args))
    return {k: round(v, 2) for k, v in figures.items()}


def drop_pages(path: pathlib.Path) -> None:
    """Ask the system to forget the files; they are on the disk already."""
    for file in path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read(store: Store, args: argparse.Namespace) -> float:
    """Records per second, the start of the workers aside."""
    loader = DataLoader(
        Records(store),
        batch_size=1,
        shuffle=True,
        num_workers=args.workers,
        generator=torch.Generator().manual_seed(0),
    )
    iterator = iter(loader)
    next(iterator)
    begin = time.perf_counter()
    count = sum(1 for _ in iterator)
    return count / (time.perf_counter() - begin)


if __name__ == '__main__':
    main()
