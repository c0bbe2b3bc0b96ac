"""Propose boxes: where in each image of an annotation file an object of any class may be."""

__all__ = ['ImageList', 'propose', 'write_proposals']

import pathlib
import pickle
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from mmdet.datasets.pipelines import Compose
from torch import Tensor, nn
from torch.utils.data import Dataset

from oadp.data.annotations.image_table import open_images
from oadp.dp.data.image_reading import naming_image, with_own_reader
from oadp.dp.data.loaders import build_val_loader
from oadp.dp.engine.predict import gather_in_order, visit_images
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.runtime import ProcessInfo


class ImageList(Dataset):
    """The images of an annotation file, in ascending order of their ids, prepared for the network.

    Args:
        annotations: a file in COCO's format. Only ``images`` is read, as proposals do not depend on
            labels.
        folder: the folder that the file names of the images are relative to.
        pipeline: mmdet's test pipeline.

    Attributes:
        rows: (n,) their positions in the file.

    Raises:
        FileNotFoundError: no such annotation file.
    """

    def __init__(
        self,
        annotations: pathlib.Path,
        folder: pathlib.Path,
        pipeline: Sequence[Mapping[str, Any]],
    ) -> None:
        if not annotations.is_file():
            raise FileNotFoundError(
                f'{annotations}: no such annotation file; see "Annotations" of the README'
            )
        self._table = open_images(annotations, 'any_name', {'size'})
        self.rows = np.argsort(self._table.ids, kind='stable')
        self._folder = folder
        self._pipeline = Compose(with_own_reader(pipeline))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = int(self.rows[i])
        name, size = self._table.name(row), self._table.size_wh(row)
        assert size is not None
        info = dict(filename=name, height=size[1], width=size[0])
        with naming_image(self._folder / name):
            return self._pipeline(
                dict(img_info=info, img_prefix=str(self._folder), bbox_fields=[], proposals=None)
            )


@torch.no_grad()
def propose(detector: nn.Module, img: Tensor, img_metas: list[dict[str, Any]]) -> np.ndarray:
    """Return the proposals of one image.

    Args:
        detector: a detector of mmdet, in evaluation mode.
        img: (1, 3, h, w), normalized and padded.
        img_metas: the metadata of this image, as mmdet's pipeline collects it.

    Returns:
        (n, 5) float32: x1, y1, x2, y2 in pixels of the original image, and the objectness, in
        descending order of objectness.

    Raises:
        ValueError: the detector has no region proposal network and more than one class.
    """
    if getattr(detector, 'rpn_head', None) is not None:
        proposals = _propose_by_rpn(detector, img, img_metas)
    else:
        proposals = _detect_single_class(detector, img, img_metas)
    return proposals[np.argsort(-proposals[:, 4], kind='stable')].astype(np.float32)


def _propose_by_rpn(
    detector: nn.Module, img: Tensor, img_metas: list[dict[str, Any]]
) -> np.ndarray:
    # The detector's forward() sets the precision of its parts, and it is not called here.
    half = getattr(detector, 'fp16_enabled', False)
    with torch.autocast(img.device.type, dtype=torch.float16) if half else nullcontext():
        features = detector.extract_feat(img)
        found = detector.rpn_head.simple_test_rpn(features, img_metas)[0]
    proposals = found.float().cpu().numpy()
    proposals[:, :4] /= img_metas[0]['scale_factor']
    return proposals


def _detect_single_class(
    detector: nn.Module, img: Tensor, img_metas: list[dict[str, Any]]
) -> np.ndarray:
    result = detector(return_loss=False, rescale=True, img=[img], img_metas=[img_metas])[0]
    classes = result[0] if isinstance(result, tuple) else result
    if len(classes) != 1:
        raise ValueError(
            f'{type(detector).__name__} has no rpn_head and {len(classes)} classes: expected a '
            'region proposal network, or a detector of a single class'
        )
    return classes[0]


def write_proposals(
    detector: nn.Module, images: ImageList, out: pathlib.Path, world: ProcessInfo, workers: int
) -> None:
    """Write the proposals of all images as a pickled list, in ascending order of image id.

    The file is written atomically. The images are divided among the processes; the file does not
    depend on the number of processes.

    Args:
        detector: see :func:`propose`; on ``world.device``.
        images: the images.
        out: the file to write.
        world: this process among the others.
        workers: the number of worker processes that load images.
    """
    found: dict[int, np.ndarray] = {}
    visit_images(
        build_val_loader(images, dict(samples_per_gpu=1, workers_per_gpu=workers), world),
        lambda batch: propose(detector, batch['img'][0], batch['img_metas'][0]),
        found.__setitem__,
        world,
        'propose',
    )
    proposals = gather_in_order(found, world)
    if proposals is not None:
        with atomic_write(out) as temporary, temporary.open('wb') as f:
            pickle.dump(proposals, f, protocol=4)
    runtime.barrier()
