"""The 96 classes of the embedded benchmark: four fillings of 24 shapes, such as 'striped star'.

The shapes of novel classes are those of no base class, so that only CLIP can tell what they look
like. Their fillings are known from base classes, so a novel object resembles base objects, and the
most likely error is to call it by one of their names. On COCO that happens to 62 % of the novel
objects that OADP covers (docs/analysis.md).
"""

__all__ = [
    'BASES',
    'BASE_SHAPES',
    'CLASSES',
    'FILLINGS',
    'NOVELS',
    'NOVEL_SHAPES',
    'SHAPES',
    'SYNONYMS',
]

FILLINGS = ('plain', 'striped', 'dotted', 'halved')

BASE_SHAPES = (
    'disc',
    'square',
    'star',
    'ring',
    'arrow',
    'heart',
    'gear',
    'cross',
    'house',
    'fish',
    'bolt',
    'mug',
    'key',
    'tree',
    'hammer',
    'bottle',
)

NOVEL_SHAPES = ('ghost', 'hourglass', 'butterfly', 'rabbit', 'crown', 'umbrella', 'eye', 'clover')
"""Shapes of novel classes. None resembles a base shape, and all are as compact as base shapes.

Open figures of thin strokes (a ladder, a spiral, a wave) are not among them: with or without
distillation, a detector trained on boxes of solid shapes detects parts of such a figure, and AP50
then depends on the localisation of these parts instead of on the classification. Shapes that
resemble a base shape (a crescent and a ring, half a dumbbell and half a key) are not among them
either: there AP50 depends on the confidence of the base class."""

SHAPES = BASE_SHAPES + NOVEL_SHAPES

CLASSES = {f'{filling} {shape}': (filling, shape) for shape in SHAPES for filling in FILLINGS}
"""Names of classes: their filling and their shape."""

BASES: tuple[str, ...] = tuple(n for n, (_, shape) in CLASSES.items() if shape in BASE_SHAPES)
NOVELS: tuple[str, ...] = tuple(n for n, (_, shape) in CLASSES.items() if shape in NOVEL_SHAPES)

SYNONYMS: dict[str, str] = {
    'disc': 'ball',
    'ring': 'hoop',
    'bolt': 'lightning',
    'gear': 'cog',
    'tree': 'pine',
    'hammer': 'mallet',
    'mug': 'cup',
    'bottle': 'flask',
    'butterfly': 'moth',
    'rabbit': 'bunny',
    'crown': 'tiara',
    'umbrella': 'parasol',
    'clover': 'shamrock',
    'dotted': 'spotted',
}
"""Alternative words, which some captions use. No category list contains them."""
