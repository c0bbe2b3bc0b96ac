"""Extract CLIP features of proposals: each is a crop with attention restricted to the proposal.

[DRY_RUN=True] (python|torchrun --nproc_per_node=N) -m oadp.oake.objects oake/objects configs/oake/objects_coco.py
"""

__all__ = ['Objects']

if __name__ == '__main__':  # before the imports below, so that --help does not import torch
    from oadp.oake.arguments import main
    from oadp.utils.command import run

    run('oadp.oake.objects', lambda: main('objects'))

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from oadp.data.boxes import is_large_enough
from oadp.data.images import read_pil_image
from oadp.data.proposals import load_proposals, outside
from oadp.oake.crops import EXPAND_MODES, ExpandMode, expand, outside_masks
from oadp.oake.encoder import ImageEncoder
from oadp.oake.image_list import ImageInfo
from oadp.oake.pixels import clip_transform, to_tensor
from oadp.oake.task import CutPixels, Inputs, Sample, Task, UncutPixels

DRY_RUN_PROPOSALS = 5  # per image


class Objects(Task):
    """Proposals that are at least 4 pixels wide and high, each with its own crop.

    Args:
        proposals: (n, 5) xyxy in pixels and objectness, by image id.
        expand_mode: how a proposal is expanded to a crop, see :func:`~oadp.oake.crops.expand`.
        max_num: maximum number of proposals per image, for a dry run; None for all.

    Raises:
        ValueError: unknown ``expand_mode``.
    """

    kind = 'objects'
    is_masked = True
    dataset_keys = ('proposal_file', 'proposal_sorted', 'expand_mode')

    def __init__(
        self,
        encoder: ImageEncoder,
        cut_on_device: bool = False,
        *,
        proposals: Mapping[int, np.ndarray],
        expand_mode: ExpandMode = 'ADAPTIVE',
        max_num: int | None = None,
    ) -> None:
        super().__init__(encoder, cut_on_device)
        if expand_mode not in EXPAND_MODES:
            raise ValueError(f'unknown expand_mode {expand_mode!r}; choose from {EXPAND_MODES}')
        self._proposals = proposals
        self._expand_mode = expand_mode
        self._max_num = max_num

    @classmethod
    def build(  # type: ignore[override]  # the keys of ``dataset`` are this kind's own
        cls,
        encoder: ImageEncoder,
        cut_on_device: bool,
        images: Sequence[ImageInfo],
        is_dry_run: bool,
        *,
        proposal_file: str,
        proposal_sorted: bool = False,
        expand_mode: ExpandMode = 'ADAPTIVE',
    ) -> 'Objects':
        """Build the task from a config; see :func:`~oadp.data.proposals.load_proposals`."""
        return cls(
            encoder,
            cut_on_device,
            proposals=load_proposals(
                proposal_file,
                [image.id for image in images],
                [image.size_wh for image in images],
                proposal_sorted,
            ),
            expand_mode=expand_mode,
            max_num=DRY_RUN_PROPOSALS if is_dry_run else None,
        )

    def _kept(self, image: ImageInfo) -> Tensor:
        proposals = torch.from_numpy(self._proposals[image.id])
        return proposals[is_large_enough(proposals[:, :4])][: self._max_num]

    def count(self, image: ImageInfo) -> int:
        """Return the number of proposals that are large enough."""
        return len(self._kept(image))

    def prepare(self, image: ImageInfo) -> Sample:
        """Decode an image, and compute the crops and masks of its proposals."""
        pil_image = read_pil_image(image.file, image.size_wh)
        if not np.isfinite(
            self._proposals[image.id]
        ).all():  # also of small boxes: a box with NaN is never large enough
            raise ValueError(
                f'{image.file}: proposals that are not finite; expected finite numbers, so make the '
                'proposals again'
            )
        proposals = self._kept(image)
        xyxy, objectness = proposals.split([4, 1], dim=1)
        if outside(xyxy.numpy(), pil_image.size).any():  # the annotation file may lack the size
            raise ValueError(
                f'{image.file}: proposals far outside the {pil_image.size[0]} × '
                f'{pil_image.size[1]} pixels of the image; check proposal_sorted'
            )
        crops = expand(xyxy, pil_image.size, self.resolution, self._expand_mode)
        masks = outside_masks(xyxy, crops, self.masked_grid)
        crops = crops.round().int()  # rounds halves to even, as PIL does
        if (crops[:, 2:] <= crops[:, :2]).any():
            raise ValueError(f'{image.file}: proposals whose crop contains no pixel; remove them')
        pixels = to_tensor(pil_image) if self.cut_on_device else None

        def cut(part: slice) -> Inputs:
            if pixels is not None:
                return UncutPixels(pixels, crops[part], self.resolution, masks[part])
            images = [
                clip_transform(pil_image.crop(tuple(box)), self.resolution)
                for box in crops[part].tolist()
            ]
            return CutPixels(torch.stack(images), masks[part])

        return Sample(len(xyxy), dict(bboxes=xyxy, objectness=objectness), cut)
