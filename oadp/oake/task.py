"""What is particular to a kind of features: what of an image is encoded, what is stored beside."""

__all__ = ['CutPixels', 'Inputs', 'Sample', 'Task', 'Uncut']

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from oadp.data.features.stores import Kind, Record
from oadp.oake.encoder import ImageEncoder
from oadp.oake.image_list import ImageInfo
from oadp.oake.resample import crop_resize, upload


class Inputs(abc.ABC):
    """Some inputs of the encoder that come from one image.

    Attributes:
        outside: (n, grid, grid) bool, which patches the encoder must not look at; None for whole
            images.
        size_hw: height and width of each; only inputs of one size go together.
    """

    outside: Tensor | None
    size_hw: tuple[int, int]

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def pixels(self, part: slice, device: torch.device) -> Tensor:
        """Those of ``part``: (m, 3, height, width) uint8 on the device."""


@dataclasses.dataclass
class CutPixels(Inputs):
    """Inputs that are cut already: ``cut`` is (n, 3, height, width) uint8."""

    cut: Tensor
    outside: Tensor | None = None

    def __post_init__(self) -> None:
        self.size_hw = (self.cut.shape[2], self.cut.shape[3])

    def __len__(self) -> int:
        return len(self.cut)

    def pixels(self, part: slice, device: torch.device) -> Tensor:
        return upload(self.cut[part], device)


@dataclasses.dataclass
class Uncut(Inputs):
    """An image and what is to be cut from it on the device; it is uploaded once.

    Attributes:
        image: (3, height, width) uint8.
        crops_xyxy: (n, 4) whole pixels.
        resolution: side of the result.
    """

    image: Tensor
    crops_xyxy: Tensor
    resolution: int
    outside: Tensor | None = None

    def __post_init__(self) -> None:
        self.size_hw = (self.resolution, self.resolution)

    def __len__(self) -> int:
        return len(self.crops_xyxy)

    def pixels(self, part: slice, device: torch.device) -> Tensor:
        self.image = upload(self.image, device)
        return crop_resize(self.image, self.crops_xyxy[part], self.resolution)


@dataclasses.dataclass
class Sample:
    """An image, ready to be cut.

    Attributes:
        num: number of its inputs.
        beside: what its record has beside the embeddings; (num, …) tensors by name.
        cut: gives the inputs of a part; called once for each part, in order.
    """

    num: int
    beside: dict[str, Tensor]
    cut: Callable[[slice], Inputs]


class Task(abc.ABC):
    """One kind of features of one split.

    Args:
        encoder: what the inputs are for; its sizes are taken, nothing is computed.
        cut_on_device: leave the cutting to the device, where the kind can.
    """

    kind: Kind
    is_masked = False
    dataset_keys: tuple[str, ...] = ()
    """Keys of the config's ``dataset`` that are this kind's own."""

    def __init__(self, encoder: ImageEncoder, cut_on_device: bool = False) -> None:
        self.resolution = encoder.resolution
        self.patch = encoder.patch
        self.masked_grid = encoder.masked_grid
        self.cut_on_device = cut_on_device

    @classmethod
    def build(
        cls,
        encoder: ImageEncoder,
        cut_on_device: bool,
        images: list[ImageInfo],
        is_dry_run: bool,
        **dataset: Any,
    ) -> 'Task':
        """From a config.

        Args:
            encoder, cut_on_device: as above.
            images: all images of the split, in the order of the annotation file.
            is_dry_run: a few inputs an image are enough.
            dataset: ``dataset_keys`` of the config.
        """
        return cls(encoder, cut_on_device, **dataset)

    @abc.abstractmethod
    def count(self, image: ImageInfo) -> int | None:
        """Number of boxes in the image's record, without decoding it; None where not known."""

    @abc.abstractmethod
    def prepare(self, image: ImageInfo) -> Sample:
        """Decode an image and find what is to be encoded of it. Called in several threads.

        Raises:
            OSError, ValueError: the image cannot be read, or its boxes are wrong.
        """

    def record(self, embeddings: Tensor, beside: dict[str, Tensor]) -> Record:
        """What is stored: fp16."""
        return {k: v.half() for k, v in dict(embeddings=embeddings, **beside).items()}

    def order(self, image: ImageInfo) -> tuple:
        """Images that go well together in a batch are neighbours in this order."""
        return ()
