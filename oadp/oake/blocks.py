"""Extract CLIP features of the blocks of images: the whole image, and tiles at several scales.

[DRY_RUN=True] (python|torchrun --nproc_per_node=N) -m oadp.oake.blocks oake/blocks configs/oake/blocks.py
"""

__all__ = ['Blocks']

if __name__ == '__main__':  # before the imports below, so that --help does not import torch
    from oadp.oake.arguments import main
    from oadp.utils.command import run

    run('oadp.oake.blocks', lambda: main('blocks'))

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from oadp.data.images import read_pil_image
from oadp.oake import pyramid
from oadp.oake.image_list import ImageInfo
from oadp.oake.pixels import clip_transform, to_tensor
from oadp.oake.task import CutPixels, Inputs, Sample, Task


class Blocks(Task):
    """Blocks of images: the whole image, and the tiles of each pyramid level.

    The image of a pyramid level is the image of the level before it, resized.
    """

    kind = 'blocks'

    def count(self, image: ImageInfo) -> int | None:
        """Return the number of blocks; None if the size of the image is not known."""
        return image.size_wh and pyramid.num_blocks(image.size_wh, self.resolution)

    def prepare(self, image: ImageInfo) -> Sample:
        """Decode an image; its blocks are the whole image and the tiles, level by level."""
        pil_image = read_pil_image(image.file, image.size_wh)
        levels = list(pyramid.levels(pil_image.size, self.resolution))
        boxes = [pyramid.whole_image_box(pil_image.size)]
        boxes += [box for level in levels for box in level.boxes(self.resolution)]
        tiles = self._tiles(pil_image, levels)

        def cut(part: slice) -> Inputs:
            return CutPixels(torch.stack([next(tiles) for _ in range(part.start, part.stop)]))

        return Sample(len(boxes), dict(bboxes=torch.tensor(boxes)), cut)

    def _tiles(self, pil_image: Image.Image, levels: list[pyramid.Level]) -> Iterator[Tensor]:
        side = self.resolution
        yield clip_transform(pil_image, side)
        for level in levels:
            if pil_image.size != level.size_wh:
                pil_image = pil_image.resize(level.size_wh, Image.Resampling.BICUBIC)
            pixels = to_tensor(pil_image)
            for x, y in level.offsets:
                yield pixels[:, y : y + side, x : x + side]
