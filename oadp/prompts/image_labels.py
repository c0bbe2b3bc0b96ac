"""Read the training data of the multi-label prompts: image embeddings and annotated classes."""

__all__ = ['ImageLabels', 'macro_map', 'read_image_labels']

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from oadp.categories import Categories
from oadp.data.annotations.file import AnnotationFile
from oadp.data.features.stores import Store, open_store
from oadp.utils.distributed import all_gather
from oadp.utils.progress import Progress
from oadp.utils.runtime import ProcessInfo

DRY_RUN_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class ImageLabels:
    """Embeddings and labels of n images.

    Attributes:
        embeddings: (n, d) float16, of whole images after CLIP's transform.
        labels: (n, classes) bool, whether the image has an annotation of the class.
    """

    embeddings: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def to(self, device: torch.device) -> 'ImageLabels':
        """Copy the tensors to a device."""
        return ImageLabels(self.embeddings.to(device), self.labels.to(device))

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the float32 embeddings of unit length, and the labels, of the images at ``indices``."""
        return functional.normalize(self.embeddings[indices].float(), dim=1), self.labels[indices]


class _FirstBlocks(Dataset):
    """The embedding of the first block of each image, which is the whole image."""

    def __init__(self, store: Store, image_ids: list[int]) -> None:
        self._store = store
        self._image_ids = image_ids

    def __len__(self) -> int:
        return len(self._image_ids)

    def __getitem__(self, index: int) -> Tensor:
        record = self._store.read(self._image_ids[index])
        assert isinstance(record, dict)  # a store of blocks
        return record['embeddings'][0].clone()


def read_image_labels(
    settings: Mapping[str, str],
    categories: Categories,
    world: ProcessInfo,
    num_workers: int = 2,
    dry_run: bool = False,
) -> ImageLabels:
    """Read a split into memory. Each process reads a share, and all receive the whole.

    Args:
        settings: ``features``, a store of blocks, and ``ann_file``, a split written by
            ``oadp.build_annotations``.
        categories: the category set, which defines the order of the labels.
        world: this process and the number of processes.
        num_workers: number of reading processes for each process.
        dry_run: read only a few images that have features.

    Raises:
        FileNotFoundError: the annotations or an image's features are missing.
        ValueError: the annotation file is not a split with this category set.
    """
    image_ids, labels = _read_labels(pathlib.Path(settings['ann_file']), categories)
    store = open_store(settings['features'], 'blocks')
    present = set(store.ids())
    if dry_run:
        kept = [i for i, image_id in enumerate(image_ids) if image_id in present][:DRY_RUN_IMAGES]
        labels, image_ids = labels[kept], [image_ids[i] for i in kept] or image_ids[:1]
    missing = [i for i in image_ids if i not in present]
    if missing:
        raise FileNotFoundError(
            f'{store.missing_error(missing[0])}; {len(missing)} of {len(image_ids)} images have no features'
        )
    share = _read_features(
        _FirstBlocks(store, image_ids[world.rank :: world.size]), world, num_workers
    )
    return ImageLabels(_interleave(share, len(image_ids), world), labels)


def _read_labels(path: pathlib.Path, categories: Categories) -> tuple[list[int], Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such annotation file; `python -m oadp.build_annotations` writes it '
            '(README, "Annotations")'
        )
    file = AnnotationFile.read(path)
    by_id = {c['id']: c['name'] for c in file.categories}
    names = tuple(by_id[i] for i in sorted(by_id))
    if names != categories.all_ or sorted(by_id) != list(range(len(by_id))):
        raise ValueError(
            f'{path}: expected the {categories.num_all} categories of the set in the same order, found '
            f'{len(names)}, such as {list(names[:3])}; `python -m oadp.build_annotations` writes this file'
        )
    image_ids = sorted(image['id'] for image in file.images)
    position = {image_id: i for i, image_id in enumerate(image_ids)}
    labels = torch.zeros(len(image_ids), categories.num_all, dtype=torch.bool)
    rows = torch.tensor([position[i] for i in file.image_ids], dtype=torch.long)
    labels[rows, torch.tensor(file.category_ids, dtype=torch.long)] = True
    return image_ids, labels


def _read_features(dataset: _FirstBlocks, world: ProcessInfo, num_workers: int) -> Tensor:
    loader = DataLoader(dataset, batch_size=64, num_workers=min(num_workers, len(dataset) // 64))
    batches = []
    with Progress(len(dataset), 'read features', 'images', enabled=world.is_main) as progress:
        for batch in loader:
            batches.append(batch)
            progress.update(len(batch))
    return torch.cat(batches) if batches else torch.empty(0, 0, dtype=torch.float16)


def _interleave(share: Tensor, total: int, world: ProcessInfo) -> Tensor:
    if world.size == 1:
        return share
    shares: list[Tensor] = all_gather(share, world)
    result = torch.empty(total, shares[0].shape[1], dtype=share.dtype)
    for rank, part in enumerate(shares):
        if len(part):
            result[rank :: world.size] = part
    return result


def macro_map(scores: Tensor | np.ndarray, labels: Tensor | np.ndarray) -> float:
    """Compute the mean average precision over classes.

    Args:
        scores: (n, classes) scores that rank the images.
        labels: (n, classes) bool. Classes without a positive image are excluded.

    Returns:
        Percent; NaN if no class has a positive image.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    shown = labels.any(axis=0)
    if not shown.any():
        return float('nan')
    return 100 * float(average_precision_score(labels[:, shown], scores[:, shown], average='macro'))
