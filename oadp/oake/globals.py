"""Extract CLIP features of whole images, at their original size and aspect ratio.

[DRY_RUN=True] (python|torchrun --nproc_per_node=N) -m oadp.oake.globals oake/globals configs/oake/globals.py
"""

__all__ = ['Globals']

if __name__ == '__main__':  # before the imports below, so that --help does not import torch
    from oadp.oake.arguments import main
    from oadp.utils.command import run

    run('oadp.oake.globals', lambda: main('globals'))

from torch import Tensor

from oadp.data.features.stores import Record
from oadp.data.images import MAX_PIXELS, read_pil_image
from oadp.oake.image_list import ImageInfo
from oadp.oake.pixels import to_tensor
from oadp.oake.task import CutPixels, Sample, Task

MAX_TOKENS = 1 << 16
"""Maximum number of patches of an image: 67 million pixels for ViT-B/32, about 3 GB of memory."""


class Globals(Task):
    """Whole images, cropped at the right and at the bottom to whole patches."""

    kind = 'globals'

    def count(self, image: ImageInfo) -> None:
        """Return None: a record has no boxes."""
        return None

    def prepare(self, image: ImageInfo) -> Sample:
        """Decode an image, and crop it to whole patches."""
        max_pixels = min(MAX_PIXELS, MAX_TOKENS * self.patch**2)
        pil_image = read_pil_image(image.file, image.size_wh, max_pixels)
        width, height = (length // self.patch * self.patch for length in pil_image.size)
        if not width or not height:
            raise ValueError(
                f'{image.file}: {pil_image.width} × {pil_image.height} pixels, '
                f'expected at least one patch of {self.patch} × {self.patch}; remove the image from the '
                'annotation file'
            )
        pixels = to_tensor(pil_image)[None, :, :height, :width]
        return Sample(1, {}, lambda _: CutPixels(pixels))

    def record(self, embeddings: Tensor, extras: dict[str, Tensor]) -> Record:
        """Return the (d,) embedding in fp16."""
        return embeddings[0].half()

    def order(self, image: ImageInfo) -> tuple:
        """Order images by their grids of patches."""
        width, height = image.size_wh or (0, 0)
        return width // self.patch, height // self.patch
