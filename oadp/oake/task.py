"""Base class of the three kinds of features: how an image becomes inputs of the encoder and a record."""

__all__ = ['CutPixels', 'Inputs', 'Sample', 'Task', 'UncutPixels']

import abc
import dataclasses
from collections.abc import Callable, Sequence
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
        outside: (n, grid, grid) bool, True for patches that the encoder must mask; None for whole
            images.
        size_hw: height and width of each input in pixels; a mini-batch has inputs of one size.
    """

    outside: Tensor | None
    size_hw: tuple[int, int]

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def pixels(self, part: slice, device: torch.device) -> Tensor:
        """Return the inputs of ``part``: (m, 3, height, width) uint8 on the device."""


@dataclasses.dataclass
class CutPixels(Inputs):
    """Inputs that are already cut.

    Attributes:
        cut: (n, 3, height, width) uint8.
        outside: see ``Inputs``.
    """

    cut: Tensor
    outside: Tensor | None = None

    def __post_init__(self) -> None:
        self.size_hw = (self.cut.shape[2], self.cut.shape[3])

    def __len__(self) -> int:
        return len(self.cut)

    def pixels(self, part: slice, device: torch.device) -> Tensor:
        """Copy the inputs of ``part`` to the device."""
        return upload(self.cut[part], device)


@dataclasses.dataclass
class UncutPixels(Inputs):
    """An image and the crops to cut from it on the device; the image is copied once.

    Attributes:
        image: (3, height, width) uint8.
        crops_xyxy: (n, 4) integers, pixels of the image.
        resolution: side of an input in pixels.
        outside: see ``Inputs``.
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
        """Cut and resize the crops of ``part`` on the device."""
        self.image = upload(self.image, device)
        return crop_resize(self.image, self.crops_xyxy[part], self.resolution)


@dataclasses.dataclass
class Sample:
    """A decoded image with its inputs.

    Attributes:
        num: number of inputs.
        extras: tensors of the record other than the embeddings, (num, …), by name.
        cut: returns the inputs of a slice; called once for each slice, in order.
    """

    num: int
    extras: dict[str, Tensor]
    cut: Callable[[slice], Inputs]


class Task(abc.ABC):
    """One kind of features of one split.

    Args:
        encoder: gives the sizes of the inputs; it is not run.
        cut_on_device: cut crops on the device, if the kind supports it.

    Attributes:
        kind: name of the kind.
        is_masked: whether inputs are parts of an image, with masks.
        dataset_keys: keys of the config's ``dataset`` that only this kind has.
    """

    kind: Kind
    is_masked = False
    dataset_keys: tuple[str, ...] = ()

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
        images: Sequence[ImageInfo],
        is_dry_run: bool,
        **dataset: Any,
    ) -> 'Task':
        """Build a task from a config.

        Args:
            encoder: see the class.
            cut_on_device: see the class.
            images: all images of the split, in the order of the annotation file.
            is_dry_run: whether to encode only a few inputs per image.
            dataset: values of ``dataset_keys`` in the config.
        """
        return cls(encoder, cut_on_device, **dataset)

    @abc.abstractmethod
    def count(self, image: ImageInfo) -> int | None:
        """Return the number of boxes in the record of an image without decoding it; None if unknown."""

    @abc.abstractmethod
    def prepare(self, image: ImageInfo) -> Sample:
        """Decode an image and determine its inputs. This is called in several threads.

        Raises:
            OSError: the image cannot be read.
            ValueError: the image cannot be decoded, or its boxes are wrong.
        """

    def record(self, embeddings: Tensor, extras: dict[str, Tensor]) -> Record:
        """Return the record to store, in fp16."""
        return {k: v.half() for k, v in dict(embeddings=embeddings, **extras).items()}

    def order(self, image: ImageInfo) -> tuple:
        """Return a sort key; images with similar keys fit into one mini-batch."""
        return ()
