"""Sizes of the embedded benchmark, in a module that imports nothing heavy."""

__all__ = ['NUM_TRAIN', 'NUM_VAL', 'TeacherSettings']

import dataclasses

NUM_TRAIN = 1200  # images
NUM_VAL = 1000  # images


@dataclasses.dataclass(frozen=True)
class TeacherSettings:
    """Sizes and schedule of the benchmark's CLIP.

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
        whole_images: fraction of the steps whose inputs are whole images at their own size, as
            those of ``oadp.oake.globals``; in [0, 1].
        objects: fraction of the other inputs that are crops of an object, in [0, 1].
        iterations: number of training steps.
        single_object_iterations: number of steps at the start whose crops are filled by one object
            and whose captions are class names only. A network this small does not learn in the
            given time what words refer to from crowded crops alone.
        batch: crops per step.
        batch_whole: whole images per step.
        lr: peak learning rate, reached by a linear warm-up and followed by a cosine decay.
        matrix_lr: peak learning rate of the matrices within the transformers, which Muon updates.
        warmup: number of warm-up steps.
        weight_decay: weight decay of all matrices.
        max_scale: upper bound of the factor of the cosine similarities. A low bound forces the text
            embeddings of different classes apart.
    """

    embedding: int = 64
    resolution: int = 48
    patch: int = 8
    width: int = 64
    layers: int = 3
    text_width: int = 64
    text_layers: int = 2
    context_length: int = 32
    images: int = 3000
    whole_images: float = 0.55
    objects: float = 0.05
    iterations: int = 3000
    single_object_iterations: int = 600
    batch: int = 64
    batch_whole: int = 24
    lr: float = 4e-3
    matrix_lr: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.05
    max_scale: float = 15.0
