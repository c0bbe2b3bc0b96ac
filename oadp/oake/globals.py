"""Features of whole images, at their own size and aspect.

[DRY_RUN=True] (python|torchrun --nproc_per_node=N) -m oadp.oake.globals oake/globals configs/oake/globals.py
"""

__all__ = ['Globals']

if __name__ == '__main__':  # before the imports below, so that --help does not wait for torch
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
"""Patches of an image that are encoded at most; 67 million pixels for ViT-B/32, some 3 GB."""


class Globals(Task):
    """The image as it is; what is left of the last whole patch is not seen, so it is cut off."""

    kind = 'globals'

    def count(self, image: ImageInfo) -> None:
        return None

    def prepare(self, image: ImageInfo) -> Sample:
        max_pixels = min(MAX_PIXELS, MAX_TOKENS * self.patch**2)
        picture = read_pil_image(image.file, image.size_wh, max_pixels)
        width, height = (length // self.patch * self.patch for length in picture.size)
        if not width or not height:
            raise ValueError(
                f'{image.file}: {picture.width} × {picture.height} pixels, '
                f'smaller than a patch of {self.patch}'
            )
        pixels = to_tensor(picture)[None, :, :height, :width]
        return Sample(1, {}, lambda _: CutPixels(pixels))

    def record(self, embeddings: Tensor, beside: dict[str, Tensor]) -> Record:
        return embeddings[0].half()

    def order(self, image: ImageInfo) -> tuple:
        width, height = image.size_wh or (0, 0)
        return width // self.patch, height // self.patch
