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
        windows: fraction of the crops that are not centred on an object, in [0, 1].
        iterations: number of training steps.
        single_object_iterations: number of steps at the start whose crops are filled by one object
            and whose captions are class names only. A network this small does not learn in the
            given time what words refer to from crowded crops alone.
        batch: crops per step.
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
    context_length: int = 24
    images: int = 3000
    windows: float = 0.3
    iterations: int = 2600
    single_object_iterations: int = 200
    batch: int = 64
    lr: float = 2.5e-3
    matrix_lr: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.05
    max_scale: float = 15.0
