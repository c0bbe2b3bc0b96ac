"""The benchmark's sizes. Apart from what uses them, so that a command's help needs no torch."""

__all__ = ['NUM_TRAIN', 'NUM_VAL', 'Teacher']

import dataclasses

NUM_TRAIN = 1200  # images
NUM_VAL = 1000


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Sizes and schedule.

    Attributes:
        images: pictures drawn to learn from.
        windows: share of the crops that are not around an object.
        iterations: steps of the optimiser.
        primer: of these, the first ones: objects that fill the crop, and nothing but their names. A
            network this small does not find out what words mean from crowded crops in that time.
        batch: crops of a step.
        lr: greatest learning rate, of a linear warm-up and a cosine decay.
        matrix_lr: the same for the matrices within the transformers, which Muon updates.
        max_scale: bound of the factor of the cosine similarities. Low, so that the names of
            different classes must be far apart.
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
    primer: int = 200
    batch: int = 64
    lr: float = 2.5e-3
    matrix_lr: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.05
    max_scale: float = 15.0
