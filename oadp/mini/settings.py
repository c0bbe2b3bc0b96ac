"""Sizes of the embedded benchmark, in a module that imports nothing heavy."""

__all__ = ['NUM_TRAIN', 'NUM_VAL', 'TEACHER_PHASES', 'TeacherSettings', 'shorten_phases']

import dataclasses
from collections.abc import Sequence

NUM_TRAIN = 1600  # images
NUM_VAL = 1000  # images


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
    """Sizes of the benchmark's CLIP, and the schedule of a phase of its training.

    Attributes:
        embedding: size of the shared embedding.
        resolution: side of the input image, in pixels.
        patch: side of a patch, in pixels.
        width: width of the image transformer.
        layers: number of layers of the image transformer.
        text_width: width of the text transformer.
        text_layers: number of layers of the text transformer.
        context_length: greatest number of tokens of a caption.
        images: number of training images.
        object_sides: least and greatest side of their objects, in pixels.
        smallest_window: least side of the windows that are cut from them, in pixels.
        whole_images: fraction of the steps whose inputs are whole images at their own size, as
            those of ``oadp.oake.globals``; in [0, 1].
        objects: fraction of the other inputs that are crops of an object, in [0, 1].
        iterations: number of training steps.
        single_object_iterations: number of steps at the start whose crops are filled by one object
            and whose captions are class names only. A network this small does not learn in the
            given time what words refer to from crowded crops alone.
        batch: crops per step.
        batch_whole: whole images per step.
        captions: captions per step, the same number for each crop. As with COCO's five captions of an
            image, each names some of the objects. Captions cost little beside images.
        lr: peak learning rate, reached by a linear warm-up and followed by a cosine decay.
        matrix_lr: peak learning rate of the matrices within the transformers, which Muon updates.
        warmup: number of warm-up steps.
        weight_decay: weight decay of all matrices.
        max_scale: upper bound of the factor of the cosine similarities. A low bound forces the text
            embeddings of different classes apart.
    """

    embedding: int = 128
    resolution: int = 48
    patch: int = 8
    width: int = 128
    layers: int = 3
    text_width: int = 64
    text_layers: int = 2
    context_length: int = 32
    images: int = 10000
    object_sides: tuple[float, float] = (26, 48)
    smallest_window: int = 40
    whole_images: float = 0.6
    objects: float = 0.05
    iterations: int = 8000
    single_object_iterations: int = 600
    batch: int = 64
    batch_whole: int = 24
    captions: int = 128
    lr: float = 2e-3
    matrix_lr: float = 0.02
    warmup: int = 200
    weight_decay: float = 0.05
    max_scale: float = 15.0


TEACHER_PHASES = (
    TeacherSettings(),
    # As CLIP, which was trained on whole images only: most inputs are whole images, with objects of
    # the sizes of the benchmark, and no input is a crop of an object.
    TeacherSettings(
        object_sides=(20, 60),
        smallest_window=56,
        whole_images=0.85,
        objects=0.0,
        iterations=2400,
        single_object_iterations=0,
        lr=1e-3,
        matrix_lr=0.01,
    ),
)
"""The phases of the training of the shipped CLIP, each with a warm-up and a decay of its own."""


def shorten_phases(
    phases: Sequence[TeacherSettings], iterations: int, images: int
) -> list[TeacherSettings]:
    """Return phases with another number of steps in all and another number of images."""
    factor = iterations / sum(phase.iterations for phase in phases)
    return [
        dataclasses.replace(
            phase,
            images=images,
            iterations=round(phase.iterations * factor),
            single_object_iterations=min(phase.single_object_iterations, iterations // 3),
        )
        for phase in phases
    ]
