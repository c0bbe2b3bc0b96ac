"""Features of whole images, at their own size and aspect.

[DRY_RUN=True] (python|torchrun --nproc_per_node=N) -m oadp.oake.globals oake/globals configs/oake/globals.py
"""

__all__ = ['Globals']

if __name__ == '__main__':  # before the imports below, so that --help does not wait for torch
    from ..utils.command import run
    from .arguments import main

    run('oadp.oake.globals', lambda: main('globals'))

from torch import Tensor

from ..features import Record
from .images import ImageInfo
from .pixels import decode, to_tensor
from .task import CutPixels, Sample, Task


class Globals(Task):
    """The image as it is; what is left of the last whole patch is not seen, so it is cut off."""

    kind = 'globals'

    def count(self, image: ImageInfo) -> None:
        return None

    def prepare(self, image: ImageInfo) -> Sample:
        picture = decode(image.file)
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
