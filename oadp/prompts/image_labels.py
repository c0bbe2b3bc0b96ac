"""Images as the multi-label training sees them: an embedding, and the classes that are annotated."""

__all__ = ['ImageLabels', 'macro_map', 'read_image_labels']

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from oadp.categories import Categories
from oadp.data.annotations.file import AnnotationFile
from oadp.data.features.stores import Store, open_store
from oadp.utils.progress import Progress
from oadp.utils.runtime import World

DRY_RUN_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class ImageLabels:
    """n images.

    Attributes:
        embeddings: (n, d) float16, of the whole image through CLIP's own transform.
        labels: (n, classes) bool: whether an annotation of the class is in the image.
    """

    embeddings: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def to(self, device: torch.device) -> 'ImageLabels':
        return ImageLabels(self.embeddings.to(device), self.labels.to(device))

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 embeddings of unit length, and labels, of some of the images."""
        return functional.normalize(self.embeddings[indices].float(), dim=1), self.labels[indices]


class _FirstBlocks(Dataset):
    """The first block's embedding by position: OAKE stores the whole image there."""

    def __init__(self, store: Store, image_ids: list[int]) -> None:
        self._store = store
        self._image_ids = image_ids

    def __len__(self) -> int:
        return len(self._image_ids)

    def __getitem__(self, index: int) -> Tensor:
        return self._store.read(self._image_ids[index])['embeddings'][0].clone()


def read_image_labels(
    settings: Mapping[str, str],
    categories: Categories,
    world: World,
    num_workers: int = 2,
    dry_run: bool = False,
) -> ImageLabels:
    """Read a split into memory, each process its share, then all together.

    Args:
        settings: ``features``, a store of blocks, and ``ann_file``, a split as
            ``oadp.build_annotations`` writes it.
        categories: the category set; sets the labels' order.
        world: this process among the others.
        num_workers: processes that read, for each process.
        dry_run: take a few images that have features, instead of all.

    Raises:
        FileNotFoundError: the annotations or an image's features are missing.
        ValueError: the annotation file is not a split of this category set.
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
            f'{store.missing_error(missing[0])}; {len(missing)} of {len(image_ids)} images have none'
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
            f'{path}: expected the {categories.num_all} categories of the set in its order, found '
            f'{len(names)}, such as {list(names[:3])}; `python -m oadp.build_annotations` writes such a file'
        )
    image_ids = sorted(image['id'] for image in file.images)
    position = {image_id: i for i, image_id in enumerate(image_ids)}
    labels = torch.zeros(len(image_ids), categories.num_all, dtype=torch.bool)
    rows = torch.tensor([position[i] for i in file.image_ids], dtype=torch.long)
    labels[rows, torch.tensor(file.category_ids, dtype=torch.long)] = True
    return image_ids, labels


def _read_features(dataset: _FirstBlocks, world: World, num_workers: int) -> Tensor:
    loader = DataLoader(dataset, batch_size=64, num_workers=min(num_workers, len(dataset) // 64))
    batches = []
    with Progress(len(dataset), 'read features', 'images', enabled=world.is_main) as progress:
        for batch in loader:
            batches.append(batch)
            progress.update(len(batch))
    return torch.cat(batches) if batches else torch.empty(0, 0, dtype=torch.float16)


def _interleave(share: Tensor, total: int, world: World) -> Tensor:
    if world.size == 1:
        return share
    shares: list[Tensor] = [share] * world.size
    dist.all_gather_object(shares, share)
    result = torch.empty(total, shares[0].shape[1], dtype=share.dtype)
    for rank, part in enumerate(shares):
        if len(part):
            result[rank :: world.size] = part
    return result


def macro_map(scores: Tensor | np.ndarray, labels: Tensor | np.ndarray) -> float:
    """Mean average precision over classes.

    Args:
        scores: (n, classes); any that rank the images.
        labels: (n, classes) bool. A class that no image shows is left out.

    Returns:
        In percent; NaN where no class is left.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    shown = labels.any(axis=0)
    if not shown.any():
        return float('nan')
    return 100 * float(average_precision_score(labels[:, shown], scores[:, shown], average='macro'))
